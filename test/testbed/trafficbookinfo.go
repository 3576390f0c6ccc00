package testbed

import "context"

// Bookinfo are the running workloads of Bookinfo in both clusters of a mesh: productpage calls details and reviews,
// and reviews of m1c2, which is version v2 and has stars, calls ratings. All else is the same in both. The Services
// and Istio objects are not part of it.
type Bookinfo struct {
	// Gateway is a client in m1c1 that stands for the ingress gateway. A proxyless client has no listener for
	// browsers: it calls the Service productpage itself, where routes with the gateway "mesh" tell pages apart.
	Gateway *Client

	servers map[string]map[string]*Server
}

// StartBookinfo starts the servers of Bookinfo in a namespace of both clusters.
func (m *Mesh) StartBookinfo(ctx context.Context, namespace string) (*Bookinfo, error) {
	b := &Bookinfo{servers: map[string]map[string]*Server{}}
	for _, c := range m.Clusters {
		reviews := ServerOptions{App: "reviews", Version: "v1"}
		if c.Name == SecondCluster {
			reviews = ServerOptions{App: "reviews", Version: "v2", Calls: []string{"ratings"}}
		}
		b.servers[c.Name] = map[string]*Server{}
		for _, o := range []ServerOptions{
			{App: "details", Version: "v1"},
			{App: "ratings", Version: "v1"},
			reviews,
			{App: "productpage", Version: "v1", Calls: []string{"details", "reviews"}},
		} {
			o.Cluster, o.Namespace = c, namespace
			server, err := m.Serve(ctx, o)
			if err != nil {
				b.Stop()
				return nil, err
			}
			b.servers[c.Name][o.App] = server
		}
	}
	var err error
	b.Gateway, err = m.Client(ClientOptions{
		Cluster:   m.Clusters[0],
		Namespace: istioNamespace,
		Name:      "istio-ingressgateway",
		Labels:    map[string]string{"istio": "ingressgateway"},
	})
	if err != nil {
		b.Stop()
		return nil, err
	}
	return b, nil
}

// Server returns the server of an app in a cluster.
func (b *Bookinfo) Server(cluster, app string) *Server {
	return b.servers[cluster][app]
}

// Stop ends every server and client. The Pods stay.
func (b *Bookinfo) Stop() {
	for _, servers := range b.servers {
		for _, s := range servers {
			s.Stop()
		}
	}
	if b.Gateway != nil {
		b.Gateway.Close()
	}
}
