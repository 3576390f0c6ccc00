package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/utils/ptr"

	"github.com/meshfence/meshfence/policy/object"
)

// The annotations by which an Ingress names its class, and an IngressClass is that of what names none.
const (
	ingressClassAnnotation = "kubernetes.io/ingress.class"
	defaultClassAnnotation = "ingressclass.kubernetes.io/is-default-class"
)

// istioIngressController is the controller of an IngressClass that istiod reads (IstioIngressController in Istio's
// pilot/pkg/config/kube/ingress). Those of its GatewayClasses begin with istioControllers, unless istiod was told another
// one by PILOT_GATEWAY_API_CONTROLLER_NAME: then it has that in the class defaultGatewayClass, which it makes itself
// (reconcileClass in Istio's pilot/pkg/config/kube/gatewaycommon).
const (
	istioIngressController = "istio.io/ingress-controller"
	istioControllers       = "istio.io/"
	defaultGatewayClass    = "istio"
)

// listenerSets are the kinds of parents that lead to a Gateway by a further object, which is not looked at.
func listenerSets() []string { return []string{"ListenerSet", "XListenerSet"} }

// remoteGatewayClass is that of Gateways elsewhere.
const remoteGatewayClass = "istio-remote"

// builtinGatewayClasses are those that istiod reads without an object (BuiltinGatewayClasses in Istio's
// pilot/pkg/config/kube/gatewaycommon).
func builtinGatewayClasses() []string {
	return []string{defaultGatewayClass, remoteGatewayClass, "istio-waypoint", "istio-east-west", "istio-agentgateway", "istio-agentgateway-waypoint"}
}

// IngressReading says which Ingresses istiod reads beside those of an IngressClass of its controller, as its mesh
// configs have it.
type IngressReading struct {
	// Classes are those of the annotation kubernetes.io/ingress.class.
	Classes []string
	// Classless reports whether it reads what names no class, or one that does not exist (ingressControllerMode DEFAULT).
	Classless bool
}

// DefaultIngressReading is that of a mesh config that says nothing (DefaultMeshConfig in Istio's pkg/config/mesh).
func DefaultIngressReading() IngressReading { return IngressReading{Classes: []string{"istio"}} }

// And returns what several istiods read together.
func (r IngressReading) And(other IngressReading) IngressReading {
	classes := slices.Concat(r.Classes, other.Classes)
	slices.Sort(classes)
	return IngressReading{slices.Compact(classes), r.Classless || other.Classless}
}

// SameAs reports whether two readings are alike; nil is one that is not known.
func (r *IngressReading) SameAs(other *IngressReading) bool {
	if r == nil || other == nil {
		return r == other
	}
	return r.Classless == other.Classless && slices.Equal(r.Classes, other.Classes)
}

// WithIngressReading returns the config with what is known of the Ingresses that istiod reads; nil where nothing is.
func (c *Config) WithIngressReading(reading *IngressReading) *Config {
	with := *c
	with.ingress = reading
	return &with
}

// IngressReading returns what is known of the Ingresses that istiod reads; nil where nothing is.
func (c *Config) IngressReading() *IngressReading { return c.ingress }

// Reader says who reads an Ingress or a Route.
type Reader struct {
	// Istio reports whether istiod does, or that it may.
	Istio bool
	// Unsure says what is not known, for want of which it counts as read; empty where it is known.
	Unsure string
}

// Reader returns who reads an Ingress or a Route.
func (v *View) Reader(o *object.Object) Reader {
	if o.Ingress != nil {
		return v.ingressReader(o)
	}
	return v.routeReader(o)
}

// ingressReader follows shouldProcessIngressWithClass in Istio's pilot/pkg/config/kube/ingress: the annotation counts
// before the field. The API server gives an Ingress that names no class the default one when it is created.
func (v *View) ingressReader(o *object.Object) Reader {
	reading := v.config.ingress
	if class, named := o.Metadata.Annotations[ingressClassAnnotation]; named {
		known := cmp.Or(reading, new(DefaultIngressReading()))
		return Reader{Istio: slices.Contains(known.Classes, class)}
	}
	if name := o.Ingress.ClassName; name != nil {
		if class, exists := v.stored(object.Key{Kind: object.KindIngressClass, Name: *name}); exists {
			return Reader{Istio: class.IngressClass.Controller == istioIngressController}
		}
		return v.unsure("IngressClass %s does not exist", *name)
	}
	defaults := v.named(defaultClassName)
	switch {
	case reading != nil && reading.Classless, slices.ContainsFunc(defaults, ofIstio):
		return Reader{Istio: true}
	case reading != nil || len(defaults) > 0:
		return Reader{}
	}
	return Reader{true, "it names no class, there is no default one, and the ingressControllerMode of the mesh config is not known"}
}

func ofIstio(o *object.Object) bool { return o.IngressClass.Controller == istioIngressController }

// routeReader asks for each parent: extractParentReferenceInfo in Istio's pilot/pkg/config/kube/gateway makes something
// of those alone that are in the mesh, or Gateways of a class of its own.
func (v *View) routeReader(o *object.Object) Reader {
	var unsure Reader
	for _, parent := range o.Route.ParentRefs {
		switch reader := v.parentReader(parent, o.Metadata.Namespace); {
		case reader.Istio && reader.Unsure == "":
			return reader
		case reader.Istio && !unsure.Istio:
			unsure = reader
		}
	}
	return unsure
}

func (v *View) parentReader(parent object.Reference, namespace string) Reader {
	group, kind := ptr.Deref(parent.Group, object.GatewayGroup), ptr.Deref(parent.Kind, object.KindGateway)
	key := object.Key{Kind: object.KindAPIGateway, Namespace: cmp.Or(parent.Namespace, namespace), Name: parent.Name}
	switch {
	case group == "" && kind == object.KindService, group == object.IstioGroup && kind == object.KindServiceEntry: // in the mesh
		return Reader{Istio: true}
	case strings.HasPrefix(group, "gateway.networking.") && slices.Contains(listenerSets(), kind):
		return Reader{true, fmt.Sprintf("the Gateway of %s %s/%s is not looked up", kind, key.Namespace, key.Name)}
	case group != object.GatewayGroup || kind != object.KindGateway:
		return Reader{}
	}
	gateway, exists := v.stored(key)
	if !exists {
		return v.unsure("Gateway %s/%s does not exist", key.Namespace, key.Name)
	}
	return v.gatewayReader(gateway)
}

// gatewayReader asks for the class of a Gateway of the Gateway API.
func (v *View) gatewayReader(gateway *object.Object) Reader {
	name := gateway.APIGateway.GatewayClassName
	class, exists := v.stored(object.Key{Kind: object.KindGatewayClass, Name: name})
	switch {
	case exists:
		return Reader{Istio: v.ofIstiod(name, class.GatewayClass.ControllerName)}
	case slices.Contains(builtinGatewayClasses(), name):
		return Reader{Istio: true}
	}
	return v.unsure("GatewayClass %s of Gateway %s/%s does not exist", name, gateway.Metadata.Namespace, gateway.Metadata.Name)
}

// ofIstiod reports whether a GatewayClass is one of istiod's, by its name or its controller.
func (v *View) ofIstiod(name, controller string) bool {
	if strings.HasPrefix(controller, istioControllers) || slices.Contains(builtinGatewayClasses(), name) {
		return true
	}
	key := object.Key{Kind: object.KindGatewayClass, Name: defaultGatewayClass}
	own, loaded := v.objects[key]
	if !loaded {
		own, _ = v.Object(key)
	}
	return own != nil && own.GatewayClass != nil && own.GatewayClass.ControllerName == controller
}

// unsure returns the reader of what names something that does not exist.
func (v *View) unsure(format string, args ...any) Reader {
	if v.supposing {
		return Reader{}
	}
	return Reader{true, fmt.Sprintf(format, args...)}
}

// The names under which the inventory has what is read by way of a class or a Gateway. No host looks like them.
const defaultClassName = "default-class/"

func throughName(k object.Key) string { return "through/" + k.Kind + "/" + k.Namespace + "/" + k.Name }

// throughNames lists the objects that decide who reads an object.
func throughNames(o *object.Object) []string {
	var names []string
	switch {
	case o.Ingress != nil && o.Ingress.ClassName != nil:
		names = append(names, throughName(object.Key{Kind: object.KindIngressClass, Name: *o.Ingress.ClassName}))
	case o.Ingress != nil:
		names = append(names, throughName(object.Key{Kind: object.KindIngressClass}))
	case o.IngressClass != nil && o.Metadata.Annotations[defaultClassAnnotation] == "true":
		names = append(names, defaultClassName)
	case o.APIGateway != nil:
		for _, class := range []string{o.APIGateway.GatewayClassName, defaultGatewayClass} {
			names = append(names, throughName(object.Key{Kind: object.KindGatewayClass, Name: class}))
		}
	case o.Route != nil:
		for _, parent := range o.Route.ParentRefs {
			if ptr.Deref(parent.Kind, object.KindGateway) == object.KindGateway {
				names = append(names, throughName(object.Key{Kind: object.KindAPIGateway, Namespace: cmp.Or(parent.Namespace, o.Metadata.Namespace), Name: parent.Name}))
			}
		}
	}
	return names
}

// ReadThrough returns the Ingresses and Routes whose reader a class or a Gateway decides, sorted by key; none for any
// other object.
func (v *View) ReadThrough(k object.Key) []*object.Object {
	switch k.Kind {
	case object.KindIngressClass: // it may be the default one, or have been
		return v.named(throughName(k), throughName(object.Key{Kind: object.KindIngressClass}))
	case object.KindGatewayClass:
		var names []string
		for _, gateway := range v.named(throughName(k)) {
			names = append(names, throughName(gateway.Key()))
		}
		return v.named(names...)
	case object.KindAPIGateway:
		return v.named(throughName(k))
	}
	return nil
}

// stored returns an object that decides who reads another one, as it was loaded or as the inventory has it. One that
// neither has is missing.
func (v *View) stored(k object.Key) (*object.Object, bool) {
	if o, loaded := v.objects[k]; loaded {
		return o, o != nil
	}
	o, ok := v.Object(k)
	ok = ok && (o.IngressClass != nil || o.GatewayClass != nil || o.APIGateway != nil) // one may not be readable
	if !ok {
		put(&v.missingObjects, k, true)
	}
	return o, ok
}

// MissingObjects lists the classes and Gateways that were asked for and that are neither in the inventory nor loaded,
// sorted. They were taken for absent.
func (v *View) MissingObjects() []object.Key {
	return slices.SortedFunc(maps.Keys(v.missingObjects), object.Key.Compare)
}

// LoadObject tells the view a missing object; nil where there is none.
func (v *View) LoadObject(k object.Key, o *object.Object) {
	put(&v.objects, k, o)
	delete(v.missingObjects, k)
}
