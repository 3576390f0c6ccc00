package policy

import "github.com/meshfence/meshfence/policy/object"

// takesName begins the name of a Gateway among those of the VirtualServices that take any server name there. No host looks
// like it.
const takesName = "takes/"

// takenGateways lists the Gateways on which a VirtualService takes any server name, as names of the inventory.
func takenGateways(o *object.Object) []string {
	var names []string
	for _, crossing := range o.Crossings() {
		for _, key := range crossing.Gateways {
			names = append(names, takesName+key.Namespace+"/"+key.Name)
		}
	}
	return names
}

// TakingServerNames returns the VirtualServices that take any server name on a Gateway, sorted by key.
func (v *View) TakingServerNames(gateway object.Key) []*object.Object {
	return v.named(takesName + gateway.Namespace + "/" + gateway.Name)
}
