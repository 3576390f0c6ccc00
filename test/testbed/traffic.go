package testbed

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// servicePort is the port of every Service of Bookinfo.
const servicePort = 9080

// method is the gRPC method of every call. What tells calls apart is the service part of the full method name, which
// Istio routes like the first segment of an HTTP path.
const method = "/get"

// deadline bounds every call. A client without one would wait for ever where a route leads nowhere.
const deadline = 2 * time.Second

// Answer is what a [Server] answers: who it is, and what it heard from the servers that it called. It travels as
// JSON in a google.protobuf.StringValue, so that no code needs to be generated.
type Answer struct {
	App     string `json:"app"`
	Version string `json:"version,omitempty"`
	Cluster string `json:"cluster,omitempty"`
	// Parts are the answers of the servers that this one called, in their order.
	Parts []Answer `json:"parts,omitempty"`
	// Error says why there is no answer; App is then all that is known.
	Error string `json:"error,omitempty"`
}

// Part returns the answer of an app among those that this answer contains; its Error tells of a missing one.
func (a Answer) Part(app string) Answer {
	for _, part := range a.Parts {
		if part.App == app {
			return part
		}
	}
	return Answer{App: app, Error: "not called"}
}

// Source returns the cluster of an answer, or its error.
func (a Answer) Source() string {
	return cmp.Or(a.Error, a.Cluster)
}

// Record is one call and what came of it.
type Record struct {
	// At is when the call started, and Took how long it lasted.
	At   time.Time
	Took time.Duration
	// Answer is what came back; its Error is the gRPC code of a failed call, such as Unavailable.
	Answer Answer
	// Err is the whole error of a failed call.
	Err error
}

// Records are calls in the order of their start.
type Records []Record

// Sources counts the clusters that answered and the gRPC codes of failures.
func (r Records) Sources() map[string]int {
	return r.count(Answer.Source)
}

// PartSources counts like Sources, for what the answering server heard from an app.
func (r Records) PartSources(app string) map[string]int {
	return r.count(func(a Answer) string {
		if a.Error != "" {
			return a.Error
		}
		return a.Part(app).Source()
	})
}

func (r Records) count(by func(Answer) string) map[string]int {
	counts := map[string]int{}
	for _, record := range r {
		counts[by(record.Answer)]++
	}
	return counts
}

// Since returns the records of calls that started at or after a time.
func (r Records) Since(at time.Time) Records {
	i, _ := slices.BinarySearchFunc(r, at, func(record Record, at time.Time) int { return record.At.Compare(at) })
	return r[i:]
}

// Errs returns one error of each kind of failure, sorted by its code.
func (r Records) Errs() []error {
	found := map[string]error{}
	for _, record := range r {
		if record.Err != nil {
			found[record.Answer.Error] = record.Err
		}
	}
	var errs []error
	for _, code := range slices.Sorted(maps.Keys(found)) {
		errs = append(errs, found[code])
	}
	return errs
}

// failed returns the answer that stands for an error.
func failed(app string, err error) Answer {
	return Answer{App: app, Error: cmp.Or(status.Code(err), codes.Unknown).String()}
}
