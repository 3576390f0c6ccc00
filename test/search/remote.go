package search

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	meshconfig "istio.io/api/mesh/v1alpha1"
	"istio.io/istio/pilot/pkg/config/memory"
	"istio.io/istio/pilot/pkg/serviceregistry/aggregate"
	kubecontroller "istio.io/istio/pilot/pkg/serviceregistry/kube/controller"
	"istio.io/istio/pilot/pkg/serviceregistry/serviceentry"
	"istio.io/istio/pkg/cluster"
	"istio.io/istio/pkg/config/mesh/meshwatcher"
	"istio.io/istio/pkg/config/schema/collection"
	"istio.io/istio/pkg/config/schema/collections"
)

// hear has a server read another cluster as an istiod does (initializeCluster in Istio's
// pilot/pkg/serviceregistry/kube/controller/multicluster.go): behind its own, which says what the ports, labels and annotations of
// a Service are (Services in pilot/pkg/serviceregistry/aggregate/controller.go), with the Pods there for ServiceEntries here, and of
// Istio's objects the WorkloadEntries alone. The server of istiod's tests takes clusters in any order, and reads nothing of
// Istio's of them.
func (v *server) hear(of cluster.ID, objects []runtime.Object, m *meshconfig.MeshConfig) error {
	clusters, ok := v.Env().ServiceDiscovery.(*aggregate.Controller)
	if !ok {
		return fmt.Errorf("%T takes no further cluster", v.Env().ServiceDiscovery)
	}
	stop := make(chan struct{})
	watcher := meshwatcher.NewTestWatcher(m)
	services, _ := kubecontroller.NewFakeControllerWithOptions(v.failer, kubecontroller.FakeControllerOptions{
		Client: v.failer.client(objects...), ClusterID: of, DomainSuffix: domain, MeshWatcher: watcher, XDSUpdater: v.Discovery,
		Stop: stop, SkipRun: true,
	})
	v.failer.Cleanup(func() { close(stop) }) // before what the line above cleans up, which waits for it
	services.AppendWorkloadHandler(v.ServiceEntryRegistry.WorkloadInstanceHandler)
	store := memory.NewController(memory.MakeSkipValidation(collection.SchemasFor(collections.WorkloadEntry)))
	workloads := serviceentry.NewWorkloadEntryController(store, v.Discovery, nil, watcher,
		serviceentry.WithClusterID(of), serviceentry.WithNetworkIDCb(services.Network))
	workloads.AppendWorkloadHandler(services.WorkloadInstanceHandler)
	workloads.AppendWorkloadHandler(v.ServiceEntryRegistry.WorkloadInstanceHandler)
	clusters.AddRegistryAndRun(services, stop)
	clusters.AddRegistryAndRun(workloads, stop)
	go store.Run(stop)
	v.remote = newGiven(store)
	return until(clusters.HasSynced, "istiod has not read the other cluster")
}

// until waits until something is so.
func until(so func() bool, otherwise string) error {
	for end := time.Now().Add(patience); !so(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			return fmt.Errorf("%s in %s", otherwise, patience)
		}
	}
	return nil
}
