// Package notice makes Events that neither drown the API server nor each other. client-go's recorder takes what one object
// suffers for one reason to be the same (getKey in its tools/events/event_broadcaster.go), so that the text of a second
// finding is lost, forgets when the process ends what it has told, and shares its limits with what matters more.
package notice
