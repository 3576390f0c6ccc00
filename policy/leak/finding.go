package leak

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// Finding is one leak in one object.
type Finding struct {
	// Rule is the id of the rule that found it.
	Rule     string
	Severity Severity
	// Object is where it was found, and Labels are its labels.
	Object object.Key
	Labels map[string]string
	// Elsewhere reports whether another object is written than that in which it was found.
	Elsewhere bool
	// Path leads to the field.
	Path object.Path
	// Value is what the field holds; nil where it is absent.
	Value any
	// Host are the fenced hosts that it touches; the zero value where there is none in particular.
	Host policy.FencedHost
	// Must completes the sentence "<field> must ...", Why the sentence "otherwise ..."; Fix says what to do instead. Why and
	// Fix are empty where there is nothing to say.
	Must, Why, Fix string
	// Notes say what else counts in this request.
	Notes []string
	// More says how many findings like this one are left out after it.
	More int

	excuses []excuse
}

func (r Rule) finding(o *object.Object, b breach) Finding {
	f := Finding{
		Rule:     r.ID,
		Severity: r.Severity,
		Object:   o.Key(),
		Labels:   o.Metadata.Labels,
		Path:     b.path,
		Value:    b.value,
		Host:     b.host,
		Must:     b.must,
		Why:      cmp.Or(b.otherwise, r.Otherwise),
		Fix:      cmp.Or(b.instead, r.Instead),
		excuses:  b.excuses,
	}
	if b.unsure {
		f.Severity = Warn
	}
	if r.Loosen != "" && !b.host.Locked {
		f.Fix += ", or " + r.Loosen
	}
	return f
}

// Field returns the path of the field, such as spec.subsets[1].labels[topology.istio.io/cluster], after the name of the
// object where that is not the one that is written.
func (f Finding) Field() string {
	if f.Elsewhere {
		return fmt.Sprintf("%s: %s", f.Object, f.Path)
	}
	return f.Path.String()
}

// Message starts with "must", and says what is fenced and why, what would leak and what to do instead.
func (f Finding) Message() string {
	var b strings.Builder
	b.Grow(len(f.Must) + len(f.Host.Host) + len(f.Host.By) + len(f.Why) + len(f.Fix) + len(f.Rule) + usualMessage)
	b.WriteString("must ")
	b.WriteString(f.Must)
	if f.Host.Host != "" {
		for _, text := range []string{": ", f.Host.Host, " is ", f.Host.Fence.String(), " (", f.Host.By, ")"} {
			b.WriteString(text)
		}
		switch others := len(f.Host.Also) + f.Host.More; {
		case others == 0:
		case f.Host.AtLeast:
			fmt.Fprintf(&b, ", and at least %d more hosts are", others)
		case others == 1:
			b.WriteString(", and one more host is")
		default:
			fmt.Fprintf(&b, ", and %d more hosts are", others)
		}
	}
	if f.Why != "" {
		b.WriteString("; otherwise ")
		b.WriteString(f.Why)
	}
	for _, text := range append([]string{f.Fix}, f.Notes...) {
		if text != "" {
			b.WriteString("; ")
			b.WriteString(text)
		}
	}
	if f.More > 0 {
		b.WriteString("; and " + count(f.More) + " more")
	}
	for _, text := range []string{" [", f.Rule, "]"} {
		b.WriteString(text)
	}
	return b.String()
}

// usualMessage is about how long the words of a message are that are always the same.
const usualMessage = 64

// Noting returns the finding with one more note.
func (f Finding) Noting(note string) Finding {
	f.Notes = append(slices.Clone(f.Notes), note)
	return f
}
