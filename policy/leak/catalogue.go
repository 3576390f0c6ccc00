package leak

import (
	"slices"

	"github.com/meshfence/meshfence/policy"
)

// Row is one row of the catalogue of leaks (docs/catalogue.md): a way out of the cluster, what closes it, and what shows that.
type Row struct {
	// ID is that of the catalogue, for example B8.
	ID string
	// What says how traffic gets out.
	What string
	// Stops are the holds that keep the traffic in whatever the object says. A rule is silent where they stop all
	// of its rows.
	Stops policy.Holds
	// Repairs are the holds that keep it in because admission or the controller fixes the object.
	Repairs policy.Holds
	// Reason says why nothing more is needed or possible; empty where holds and rules close the row.
	Reason string
	// Harmless reports whether nothing gets out, for the Reason given.
	Harmless bool
	// Shown names the tests, as package and function, beside the case of the row in test/conformance.
	Shown []string
}

// Catalogue returns every row, in the order of the catalogue. It is the one table of what stops which leak: the
// guard, docs/ledger.md and the pages of the rules read it, and test/conformance holds it against istiod.
func Catalogue() []Row {
	return slices.Concat(nothingInjected(), destinationRuleRows(), virtualServiceRows(), serviceEntryRows(),
		workloadRows(), meshConfigRows(), multiclusterRows(), gatewayRows(), otherRows())
}

// Stops returns the holds of which each one stops every row of a rule.
func (r Rule) Stops() policy.Holds {
	if len(r.Rows) == 0 {
		return 0
	}
	stops := anyHold
	for _, row := range Catalogue() {
		if slices.Contains(r.Rows, row.ID) {
			stops &= row.Stops
		}
	}
	return stops
}
