// Package backfill brings objects in line that admission has not seen since their fence is what it is, whoever owns them.
// It writes nothing into them itself: a patch without content sends each through admission, leaves no trace in
// managedFields, and what comes back is what the owner's next apply would get.
package backfill
