package policy

import "github.com/meshfence/meshfence/policy/hostname"

// SetUID tells which of all Services that had or will have its name a Service is; the empty UID is for one that is being
// deleted. Another UID of a fenced Service is a change. It is called last of what tells of a Service, so that who hears of
// the change finds the rest.
func (x *Index) SetUID(host hostname.Host, uid string) {
	changed := false
	defer func() { x.subscribers.notify(changed, Change{host.Namespace, host.Name}) }()
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.has(host) {
		return
	}
	n := x.namespaces[host.Namespace]
	changed = n.uids[host.Name] != uid && n.fence(host.Name) != None
	if n.uids == nil {
		n.uids = map[string]string{}
	}
	n.uids[host.Name] = uid
}

// UID returns that of a Service of the index; empty for one that is being deleted, or not told of as a whole yet.
func (v *View) UID(h hostname.Host) string {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	if n, ok := v.index.namespaces[h.Namespace]; ok {
		return n.uids[h.Name]
	}
	return ""
}
