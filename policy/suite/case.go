package suite

import (
	"path"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// Outcome is what becomes of the object of a case.
type Outcome string

const (
	// Denied means that validation refuses the object even after mutation.
	Denied Outcome = "denied"
	// Warned means that validation accepts the object after mutation, and warns of it.
	Warned Outcome = "warned"
	// Audited means that validation accepts the object after mutation, and only records what it finds.
	Audited Outcome = "audited"
	// Fixed means that validation finds something in the object as it is, and nothing in what mutation makes of it.
	Fixed Outcome = "fixed"
	// Passes means that validation finds nothing, before and after mutation.
	Passes Outcome = "passes"
)

// Operation is what is done with the object of a case. Without one it is created, or updated where there is an old one.
type Operation string

const (
	// Delete means that the object is deleted.
	Delete Operation = "delete"
	// Audit means that the object exists and nobody writes it.
	Audit Operation = "audit"
)

// Case is one object that is judged, in its scene, and what is expected.
type Case struct {
	// File and Line are where the case begins.
	File string
	Line int
	// Title is the sentence that says what the case shows.
	Title string
	// Variant is the patch on the FenceConfig of the scene, as the case has it; empty where that counts as it is.
	Variant string
	// Config is the FenceConfig, in YAML.
	Config []byte
	// Scene are the objects that exist beside that of the case.
	Scene  []Document
	Object Document
	// Old is what the object replaces; nil on creation.
	Old *Document
	// Stored is the object as it must be stored; nil where the case does not say.
	Stored *Document
	// Writer is the user who writes the object; empty for one whom no rule excepts.
	Writer    string
	Operation Operation
	Expect    Expectation
}

// Expectation is what must become of the object of a case.
type Expectation struct {
	// Outcome is the worst of those that the case names; empty where only what is stored counts.
	Outcome Outcome
	// Rules are ids of rules that must be among those that find something.
	Rules []string
	// Denied, Warned and Audited are all findings of such an outcome, and Fixed those in an object before it is fixed, as Text
	// writes them; all are nil where the case names none.
	Denied, Warned, Audited, Fixed []string
}

// Text is one finding as a case has it.
func Text(field, message string) string { return field + ": " + message }

// Suite is the name of the file of a case, without its extension.
func (c Case) Suite() string { return strings.TrimSuffix(path.Base(c.File), Extension) }

// Deleted reports whether the object is deleted.
func (c Case) Deleted() bool { return c.Operation == Delete }

// Index returns an index that knows the config and the scene of a case, and the object as it was. What is created
// is not in it: nobody knows it yet.
func (c Case) Index() (*policy.Index, error) {
	config, err := policy.ParseConfig(policy.Source{File: c.File}, c.Config)
	if err != nil {
		return nil, err
	}
	known := c.Scene
	if c.Old != nil {
		known = append(known[:len(known):len(known)], *c.Old)
	}
	return Index(config, known)
}

// Pods returns those of the scene.
func (c Case) Pods() policy.Pods {
	var pods policy.Pods
	for _, d := range c.Scene {
		if d.Kind == object.KindPod {
			pods = append(pods, policy.Pod{Namespace: d.Namespace, Labels: d.Labels, Address: object.PodAddress(d.JSON)})
		}
	}
	return pods
}
