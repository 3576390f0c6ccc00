package policy

import (
	"net/netip"
	"slices"

	"github.com/meshfence/meshfence/policy/hostname"
)

// chunkSize is how many addresses are together at most, so that a change moves few of them.
const chunkSize = 512

// addressed is a Service by one of its addresses.
type addressed struct {
	address netip.Addr
	host    hostname.Host
}

func (a addressed) compare(b addressed) int {
	if c := a.address.Compare(b.address); c != 0 {
		return c
	}
	return a.host.Compare(b.host)
}

// addressSet holds Services by their addresses, in chunks that are sorted and follow one another, none of them empty.
type addressSet struct{ chunks [][]addressed }

// chunk returns the index of the chunk that an entry belongs into.
func (s *addressSet) chunk(a addressed) int {
	i, _ := slices.BinarySearchFunc(s.chunks, a, func(chunk []addressed, a addressed) int { return chunk[0].compare(a) })
	if i < len(s.chunks) && s.chunks[i][0] == a {
		return i
	}
	return max(0, i-1)
}

func (s *addressSet) insert(a addressed) {
	if len(s.chunks) == 0 {
		s.chunks = [][]addressed{{a}}
		return
	}
	c := s.chunk(a)
	i, found := slices.BinarySearchFunc(s.chunks[c], a, addressed.compare)
	if found {
		return
	}
	s.chunks[c] = slices.Insert(s.chunks[c], i, a)
	if whole := s.chunks[c]; len(whole) > chunkSize {
		half := len(whole) / 2
		s.chunks[c] = slices.Clone(whole[:half])
		s.chunks = slices.Insert(s.chunks, c+1, slices.Clone(whole[half:]))
	}
}

func (s *addressSet) remove(a addressed) {
	if len(s.chunks) == 0 {
		return
	}
	c := s.chunk(a)
	i, found := slices.BinarySearchFunc(s.chunks[c], a, addressed.compare)
	if !found {
		return
	}
	if s.chunks[c] = slices.Delete(s.chunks[c], i, i+1); len(s.chunks[c]) == 0 {
		s.chunks = slices.Delete(s.chunks, c, c+1)
	}
}

// within visits the Services with an address in the prefix, in the order of the addresses, until visit returns false.
func (s *addressSet) within(prefix netip.Prefix, visit func(hostname.Host) bool) {
	if len(s.chunks) == 0 {
		return
	}
	first := addressed{address: prefix.Masked().Addr()}
	for c := s.chunk(first); c < len(s.chunks); c++ {
		from, _ := slices.BinarySearchFunc(s.chunks[c], first, addressed.compare)
		for _, a := range s.chunks[c][from:] {
			if !prefix.Contains(a.address) || !visit(a.host) {
				return
			}
		}
	}
}
