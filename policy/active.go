package policy

// HoldFault says why a hold that the FenceConfig names is not active.
type HoldFault struct {
	// Behind reports whether what the hold needs is being written, or was to be. Otherwise the hold is broken: it stays
	// so until somebody repairs what the Reason names.
	Behind bool
	// Reason is a sentence without its dot.
	Reason string
	// Holds reports whether the hold keeps in the traffic of a host all the same; nil where it does so for none.
	Holds func(host string) bool
}

// The words for how far a hold that the FenceConfig names is true.
const (
	HoldTrue   = "true"
	HoldBehind = "behind"
	HoldBroken = "broken"
)

// State returns HoldTrue for no fault, and the word for the fault otherwise.
func (f *HoldFault) State() string {
	switch {
	case f == nil:
		return HoldTrue
	case f.Behind:
		return HoldBehind
	}
	return HoldBroken
}

// Keeps reports whether the hold is true for a host.
func (f *HoldFault) Keeps(host string) bool { return f == nil || f.Holds != nil && f.Holds(host) }

// WithMeshConfigFault returns the config with what is known of hold meshConfig; nil where it is true.
func (c *Config) WithMeshConfigFault(fault *HoldFault) *Config {
	with := *c
	with.meshFault = fault
	return &with
}

// Fault says why a hold that the FenceConfig names is not active; nil for one that is, and for one that is not named.
func (c *Config) Fault(hold Hold) *HoldFault {
	switch {
	case !c.Holds.Has(hold):
		return nil
	case hold == MeshConfig:
		return c.meshFault
	case hold == Locality && c.NeedsNodes() && c.nodeShares == nil:
		_, err := c.Shares(c.Clusters[0])
		return &HoldFault{Reason: err.Error()}
	case hold == Subset && c.Active() == 0:
		return &HoldFault{Reason: "it holds nothing by itself behind an istiod of several clusters"}
	}
	return nil
}

// Active returns the holds that are true at the moment. Behind an istiod of several clusters subset is none of
// them where nothing else is (row B17).
func (c *Config) Active() Holds {
	active := c.Holds
	if c.meshFault != nil {
		active &^= Holds(MeshConfig)
	}
	if c.NeedsNodes() && c.nodeShares == nil {
		active &^= Holds(Locality)
	}
	if active.Only(Subset) && len(c.Clusters) > 1 {
		return 0
	}
	return active
}

// Each lists the holds of the set, in the order of their names.
func (s Holds) Each() []Hold {
	var list []Hold
	for _, h := range holdNames {
		if s.Has(h.hold) {
			list = append(list, h.hold)
		}
	}
	return list
}

// String returns the name as the FenceConfig spells it.
func (h Hold) String() string { return Holds(h).String() }
