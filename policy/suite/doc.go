// Package suite reads cases of what admission does, so that package leak, the webhook, a real API server and
// `meshfence test` judge the very same objects.
//
// A suite is a file of sections, each after a line with its title (golang.org/x/tools/txtar):
//
//	-- scene --
//	apiVersion: config.meshfence.io/v1alpha1
//	kind: FenceConfig
//	controlPlane: {clusters: [m1c1]}
//	holds: [meshConfig]
//	---
//	apiVersion: v1
//	kind: Service
//	metadata: {name: reviews, namespace: shop, annotations: {meshfence.io/fence: strict}}
//
//	-- A VirtualService copies the requests of a strict Service to another one. --
//	# expect: denied virtualservice-mirror
//	apiVersion: networking.istio.io/v1
//	kind: VirtualService
//	...
//
// A section called scene has the FenceConfig and the objects that exist in the cases after it, up to the next scene. Every
// other section is a case; its title is a sentence that says what the case shows. The last object of a case is the one
// that is judged. Those before it are added to the scene, or take the place of its objects of the same kind, namespace and
// name. Where the scene then has an object of the same kind, namespace and name as the judged one, it is an update.
//
// Comments at the start of a case say more, one thing a line:
//
//	# expect: denied|warned|audited|fixed|passes [RULE...]
//	#   spec.hosts[0]: must not ...          one finding in full; if there is one, there must be all
//	# config: {holds: [subset]}              a merge patch (RFC 7386) on the FenceConfig; with several the case holds for each
//	# without: Service shop/details          what the scene has and the case has not, separated by commas
//	# as: jane                               the user who writes; without it one whom no rule excepts
//	# operation: delete|audit                the object is deleted, or it exists and nobody writes it
//
// A section called stored, after a case, is the object as it must be stored: what mutation makes of it.
package suite
