package meshconfig

import (
	"encoding/binary"
	"encoding/json"
	"slices"

	"github.com/meshfence/meshfence/policy"
)

// meshRecord says which hosts of serviceSettings are ours, and what was there before them. It is the
// value of ClusterLocalHostsAnnotation.
type meshRecord struct {
	// True and False are the hosts by the clusterLocal that they were given: a user's later entry that
	// says the opposite of ours is not ours.
	True  []string `json:"true,omitempty"`
	False []string `json:"false,omitempty"`
	// Hashes stand for the hosts where there are many: sorted, hashSize bytes each.
	Hashes []byte `json:"hashes,omitempty"`
	// Theirs are the ones of these that a user had given the same value before, as often as that: then
	// one such host in the text is not enough to be ours. It happens where the same user contradicts it later.
	Theirs []string `json:"theirs,omitempty"`
	// Created reports whether the key serviceSettings is ours too.
	Created bool `json:"created,omitempty"`
	// Was is the text between the key's colon and the end of an empty value that a list of ours replaced.
	Was *string `json:"was,omitempty"`
}

const (
	// hashFrom is how many bytes of hosts are written out. A mesh config has room for some 20,000 hosts
	// and more, whose names would not fit into the 256 KiB that all annotations may take.
	hashFrom = 8 << 10
	// hashSize makes it a matter of one in a million mesh configs of that size that a host of a user's is
	// taken for one of ours.
	hashSize = 5
)

// parseMeshRecord reads a record. One that a user has spoilt counts as empty: then what is in the
// text is taken for that user's own.
func parseMeshRecord(value string) meshRecord {
	var r meshRecord
	if json.Unmarshal([]byte(value), &r) != nil {
		return meshRecord{}
	}
	return r
}

// newMeshRecord records our entries, which are behind a user's.
func newMeshRecord(ours []policy.ClusterLocalEntry, theirs []setting) meshRecord {
	var r meshRecord
	size := 0
	for _, e := range ours {
		size += len(e.Host)
		if e.Local {
			r.True = append(r.True, e.Host)
		} else {
			r.False = append(r.False, e.Host)
		}
	}
	owned := r.owned()
	for _, s := range theirs {
		if owned[hashEntry(s.host, s.local)] {
			r.Theirs = append(r.Theirs, s.host)
		}
	}
	if size < hashFrom {
		return r
	}
	r.True, r.False = nil, nil
	hashes := make([]uint64, len(ours))
	for i, e := range ours {
		hashes[i] = hashEntry(e.Host, e.Local)
	}
	slices.Sort(hashes)
	r.Hashes = make([]byte, 0, (len(hashes)+1)*hashSize)
	for _, h := range hashes {
		r.Hashes = binary.LittleEndian.AppendUint64(r.Hashes, h)[:len(r.Hashes)+hashSize]
	}
	return r
}

// value returns the annotation's value; empty when nothing is ours.
func (r meshRecord) value() (string, error) {
	if len(r.True)+len(r.False)+len(r.Hashes) == 0 {
		return "", nil
	}
	data, err := json.Marshal(r)
	return string(data), err
}

// owned returns the hashes of our entries.
func (r meshRecord) owned() map[uint64]bool {
	owned := make(map[uint64]bool, len(r.True)+len(r.False)+len(r.Hashes)/hashSize)
	for _, host := range r.True {
		owned[hashEntry(host, true)] = true
	}
	for _, host := range r.False {
		owned[hashEntry(host, false)] = true
	}
	for hash := range slices.Chunk(r.Hashes, hashSize) {
		var eight [8]byte
		copy(eight[:], hash)
		owned[binary.LittleEndian.Uint64(eight[:])] = true
	}
	return owned
}

// hashEntry returns hashSize bytes that stand for a host and its value: of its FNV-1a hash, behind a ! for
// false. The annotation keeps them, so they must not change.
func hashEntry(host string, local bool) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	hash := uint64(offset)
	if !local {
		hash = (hash ^ '!') * prime
	}
	for i := range len(host) {
		hash = (hash ^ uint64(host[i])) * prime
	}
	return hash >> (64 - 8*hashSize)
}
