package inject

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/meshfence/meshfence/policy/object"
)

// The sections of a VirtualService: each is the list of routes of one protocol.
const (
	sectionHTTP = "http"
	sectionTLS  = "tls"
	sectionTCP  = "tcp"
)

//nolint:gochecknoglobals // a table that nothing writes
var sections = [...]string{sectionHTTP, sectionTLS, sectionTCP}

// routeRecord says what admission added to a VirtualService, so that it can be taken back when nothing needs
// it any more. It is the value of policy.InjectedAnnotation. A route that no longer is what was appended is a
// user's own.
type routeRecord struct {
	// Routes are what was appended to each section.
	Routes appended `json:"routes,omitempty"`
	// Suppress reports whether IST0112 was added to the suppressed messages, and Beside that IST0109 was.
	Suppress bool `json:"analyzeSuppress,omitempty"`
	Beside   bool `json:"analyzeSuppressBeside,omitempty"`
}

// note keeps which message was added to the suppressed ones.
func (r *routeRecord) note(message string) {
	r.Suppress, r.Beside = message == ist0112, message == ist0109
}

type appended map[string][]any

// String returns the annotation's value; empty when there is nothing to record.
func (r routeRecord) String() string {
	if len(r.Routes) == 0 && !r.Suppress && !r.Beside {
		return ""
	}
	data, err := json.Marshal(r)
	if err != nil {
		return ""
	}
	return string(data)
}

// readRecord is a routeRecord as it is read back. One that a user has spoilt counts as empty.
type readRecord struct {
	Routes   object.VirtualService `json:"routes"`
	Suppress bool                  `json:"analyzeSuppress"`
	Beside   bool                  `json:"analyzeSuppressBeside"`
}

// message returns the suppressed message that was added; empty where none was.
func (r readRecord) message() string {
	switch {
	case r.Suppress:
		return ist0112
	case r.Beside:
		return ist0109
	}
	return ""
}

func parseRoutes(value string) readRecord {
	var r readRecord
	if value == "" || json.Unmarshal([]byte(value), &r) != nil {
		return readRecord{}
	}
	return r
}

// present lists the indexes of appended routes in each section, the last one first.
type present map[string][]int

// presentRoutes finds recorded routes.
func presentRoutes(vs, recorded *object.VirtualService) present {
	if len(recorded.HTTP)+len(recorded.TLS)+len(recorded.TCP) == 0 {
		return nil
	}
	return present{
		sectionHTTP: find(vs.HTTP, recorded.HTTP),
		sectionTLS:  find(vs.TLS, recorded.TLS),
		sectionTCP:  find(vs.TCP, recorded.TCP),
	}
}

// find returns the indexes of the recorded routes, the last one first, each before that of the recorded one after it.
func find[Route any](routes, recorded []Route) (found []int) {
	if len(recorded) == 0 {
		return nil
	}
	places := map[string][]int{}
	for i, one := range routes {
		if text, err := json.Marshal(one); err == nil {
			places[string(text)] = append(places[string(text)], i)
		}
	}
	limit := len(routes)
	for _, r := range slices.Backward(recorded) {
		text, err := json.Marshal(r)
		if err != nil {
			continue
		}
		at, _ := slices.BinarySearch(places[string(text)], limit)
		if at == 0 {
			continue
		}
		limit = places[string(text)][at-1]
		found = append(found, limit)
	}
	return found
}

// route returns the path of a route.
func route(section string, i int) []string { return []string{"spec", section, strconv.Itoa(i)} }

// holds reports whether a path leads into one of the routes.
func (s present) holds(path object.Path) bool {
	i, err := strconv.Atoi(path[2])
	return err == nil && among(s[path[1]], i)
}

// among reports whether an index is in a list that has the largest first.
func among(list []int, i int) bool {
	_, found := slices.BinarySearchFunc(list, i, func(a, b int) int { return cmp.Compare(b, a) })
	return found
}

// end reports whether the sections end with the routes, as many as are wanted.
func (s present) end(vs *object.VirtualService, wanted appended) bool {
	for section, length := range map[string]int{sectionHTTP: len(vs.HTTP), sectionTLS: len(vs.TLS), sectionTCP: len(vs.TCP)} {
		ours := s[section]
		if len(ours) != len(wanted[section]) || len(ours) > 0 && ours[len(ours)-1] != length-len(ours) {
			return false
		}
	}
	return true
}

// without returns a VirtualService as a user wrote it.
func (s present) without(vs *object.VirtualService) *object.VirtualService {
	own := *vs
	own.HTTP, own.TLS, own.TCP = except(vs.HTTP, s[sectionHTTP]), except(vs.TLS, s[sectionTLS]), except(vs.TCP, s[sectionTCP])
	return &own
}

func except[Route any](routes []Route, ours []int) []Route {
	if len(ours) == 0 {
		return routes
	}
	var own []Route
	for i, r := range routes {
		if !among(ours, i) {
			own = append(own, r)
		}
	}
	return own
}
