package object

import (
	"cmp"
	"strings"
)

// Key names an object.
type Key struct{ Kind, Namespace, Name string }

// Compare orders keys by kind, Namespace and name.
func (k Key) Compare(other Key) int {
	return cmp.Or(strings.Compare(k.Kind, other.Kind), strings.Compare(k.Namespace, other.Namespace), strings.Compare(k.Name, other.Name))
}

// String returns the kind as users write it, the namespace and the name.
func (k Key) String() string { return APIKind(k.Kind) + " " + k.Namespace + "/" + k.Name }

// Key returns the name of the object.
func (o *Object) Key() Key { return Key{o.Kind, o.Metadata.Namespace, o.Metadata.Name} }

// APIKind returns the name that a kind has in its API group.
func APIKind(kind string) string {
	return kind[strings.LastIndexByte(kind, '/')+1:]
}

// KindIn returns the name that a kind of an API group has here.
func KindIn(group, kind string) string {
	if group == GatewayGroup && kind == apiGateway {
		return KindAPIGateway
	}
	return kind
}
