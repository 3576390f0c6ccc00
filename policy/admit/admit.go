package admit

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	kjson "sigs.k8s.io/json"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// Request is one object to decide on, wherever it comes from.
type Request struct {
	// Kind is one of the kinds that have a view in package policy.
	Kind string
	// Namespace counts where the object names none.
	Namespace string
	// Raw is the object in JSON.
	Raw []byte
	// Old is what it replaces, in JSON; empty on creation.
	Old []byte
	// Deleted reports whether the object goes.
	Deleted bool
	// Writer is the name of the user who asks, and Own reports whether it is meshfence itself.
	Writer string
	Own    bool
}

// OwnUser is the user as whom the ServiceAccount of the manifests acts that is in an install namespace: meshfence itself.
func OwnUser(installNamespace string) string {
	return "system:serviceaccount:" + installNamespace + ":meshfence"
}

// BadRequest is an error in what was asked: the object cannot be read, or admission does not take it.
type BadRequest struct{ Err error }

// Error returns the message of the error inside.
func (e *BadRequest) Error() string { return e.Err.Error() }

// Unwrap returns the error inside.
func (e *BadRequest) Unwrap() error { return e.Err }

// Mutate returns the edits that an object needs. The error is a *BadRequest. Where the view is missing
// something afterwards, the answer counts only once that is loaded and Mutate is called again.
func Mutate(s Request, view *policy.View) ([]inject.Edit, error) {
	if s.Kind == object.KindConfigMap {
		return mutateMeshConfig(s, view)
	}
	if untouched(s, view.Config()) {
		return nil, nil
	}
	object, err := s.decode(s.Raw)
	if err != nil {
		return nil, err
	}
	if record, lost := s.lostRecord(object.Metadata.Annotations, policy.InjectedAnnotation); lost {
		return inject.Recorded(object, record, view).Edits, nil
	}
	return inject.Object(object, view).Edits, nil
}

// lostRecord returns what an annotation of ours said in the object that is replaced, and reports whether the writer has
// left the annotation out of those given.
func (s Request) lostRecord(annotations map[string]string, key string) (record string, lost bool) {
	if _, kept := annotations[key]; kept || !bytes.Contains(s.Old, []byte(key)) {
		return "", false
	}
	var old struct {
		Metadata object.Metadata `json:"metadata"`
	}
	if kjson.UnmarshalCaseSensitivePreserveInts(s.Old, &old) != nil {
		return "", false // one that cannot be read has added nothing
	}
	record, lost = old.Metadata.Annotations[key]
	return record, lost
}

// Judge returns what the guard finds in a write: in the object, and for a Service or Namespace in the existing objects that
// let traffic out because of what is written. Findings that the old object had too do not count. The error is a
// *BadRequest. Where the view is missing something afterwards, the answer counts only once that is loaded and Judge is
// called again.
func Judge(s Request, guard *leak.Guard, view *policy.View, now time.Time) (leak.Verdict, error) {
	w, err := s.write(view)
	if err != nil {
		return leak.Verdict{}, err
	}
	verdict := sorted(guard.Judge(w, view), view, now)
	if s.Kind == object.KindService || s.Kind == object.KindNamespace {
		verdict = verdict.And(sorted(guard.Existing(w, view), view, now))
	}
	return verdict, nil
}

// Validate does the same for the object alone, where all others are judged as well.
func Validate(s Request, guard *leak.Guard, view *policy.View, now time.Time) (leak.Verdict, error) {
	w, err := s.write(view)
	if err != nil {
		return leak.Verdict{}, err
	}
	return sorted(guard.Judge(w, view), view, now), nil
}

func sorted(findings []leak.Finding, view *policy.View, now time.Time) leak.Verdict {
	if len(findings) == 0 {
		return leak.Verdict{}
	}
	return leak.Sort(findings, view, now)
}

// ValidateBeside does so beside what an index knows and these Pods, which are all that exist.
func ValidateBeside(s Request, guard *leak.Guard, index *policy.Index, pods policy.Pods, now time.Time) (leak.Verdict, error) {
	view := index.View()
	verdict, err := Validate(s, guard, view, now)
	for err == nil && view.AnswerPods(pods) {
		verdict, err = Validate(s, guard, view, now)
	}
	return verdict, err
}

// Admitted is what admission makes of a write.
type Admitted struct {
	// Stored is the object in JSON as it is stored.
	Stored []byte
	leak.Verdict
}

// Admit mutates and validates a write, beside what an index knows and these Pods. A kind that admission does not take stays
// as it is. The error is a *BadRequest.
func Admit(s Request, guard *leak.Guard, index *policy.Index, pods policy.Pods, now time.Time) (Admitted, error) {
	admitted := Admitted{Stored: s.Raw}
	kind, _ := KindFor(object.GroupOf(s.Kind), object.APIKind(s.Kind))
	if kind.Mutate && !s.Deleted {
		edits, err := Mutate(s, index.View())
		if err != nil {
			return Admitted{}, err
		}
		if admitted.Stored, err = Apply(s.Raw, edits); err != nil {
			return Admitted{}, &BadRequest{err}
		}
	}
	if !kind.Validate {
		return admitted, nil
	}
	s.Raw = admitted.Stored
	var err error
	admitted.Verdict, err = ValidateBeside(s, guard, index, pods, now)
	return admitted, err
}

// write reads what is judged.
func (s Request) write(view *policy.View) (leak.Write, error) {
	obj, err := s.decode(s.Raw)
	if err != nil {
		return leak.Write{}, err
	}
	if s.Kind == object.KindNamespace {
		view.LoadNamespace(obj.Metadata.Name, obj.Metadata.Labels) // it may be too new for the index
	}
	w := leak.Write{Object: obj, Deleted: s.Deleted, Writer: s.Writer, Own: s.Own}
	if len(s.Old) > 0 {
		w.Old = sync.OnceValue(func() *object.Object {
			old, _ := s.decode(s.Old) // one that cannot be read excuses nothing
			return old
		})
	}
	return w, nil
}

// untouched reports whether mutation changes nothing, where that shows without decoding: unless subset is the only
// active hold, a VirtualService only ever loses the reserved subset, routes to it and their record. The name that they
// share must then be in it as it is or with some of its letters escaped.
func untouched(s Request, config *policy.Config) bool {
	return s.Kind == object.KindVirtualService && !config.Active().Only(policy.Subset) && isMapping(s.Raw) &&
		!bytes.Contains(s.Raw, []byte(inject.ManagedBy)) && !bytes.Contains(s.Raw, []byte(`\u`))
}

func isMapping(raw []byte) bool { return bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte("{")) }

func (s Request) decode(raw []byte) (*object.Object, error) {
	if !isMapping(raw) {
		return nil, &BadRequest{fmt.Errorf("decode %s: %w", s.Kind, errors.New("must be a mapping"))}
	}
	obj, err := object.Decode(s.Kind, raw)
	if err != nil {
		return nil, &BadRequest{err}
	}
	if obj.Metadata.Namespace == "" {
		obj.Metadata.Namespace = s.Namespace
	}
	if s.Kind == object.KindNamespace {
		// As in admission requests, a Namespace lies in itself: its own enforcement and exemptions count.
		obj.Metadata.Namespace = obj.Metadata.Name
	}
	return obj, nil
}
