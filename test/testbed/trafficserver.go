package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
)

// ServerOptions describe a workload, which gets a test host to itself.
type ServerOptions struct {
	Cluster *Cluster
	// Namespace is that of the Pod; default unless set.
	Namespace string
	// App and Version are the labels of the Pod, which is called <App>-<Version>; a third one, cluster, names the
	// cluster.
	App, Version string
	// Labels are further labels of the Pod.
	Labels map[string]string
	// Port is 9080 unless set.
	Port uint16
	// Calls are the apps that an answer needs, in the same namespace.
	Calls []string
}

// Server is a gRPC server on a test host with a Pod that stands for it. It answers every method with who it is.
type Server struct {
	options ServerOptions
	address netip.AddrPort
	client  *Client

	mu      sync.Mutex
	serving *grpc.Server // nil while it is down
	done    chan struct{}
}

// Serve starts a server and then registers a Ready Pod for it; EndpointSlices follow where a Service selects it.
func (m *Mesh) Serve(ctx context.Context, o ServerOptions) (*Server, error) {
	if o.Namespace == "" {
		o.Namespace = "default"
	}
	if o.Port == 0 {
		o.Port = servicePort
	}
	labels := map[string]string{"app": o.App, "version": o.Version, "cluster": o.Cluster.Name}
	maps.Copy(labels, o.Labels)
	s := &Server{options: o, address: netip.AddrPortFrom(m.address(o.Cluster), o.Port)}
	if len(o.Calls) > 0 {
		client, err := m.Client(ClientOptions{
			Cluster: o.Cluster, Namespace: o.Namespace, Name: s.Pod(), Address: s.address.Addr(), Labels: labels,
		})
		if err != nil {
			return nil, err
		}
		s.client = client
	}
	if err := s.listen(); err != nil {
		s.Stop()
		return nil, err
	}
	if err := o.Cluster.CreatePod(ctx, o.Namespace, s.Pod(), s.address.Addr(), labels); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// Address returns the test host that the server is on.
func (s *Server) Address() netip.Addr { return s.address.Addr() }

// Pod returns the name of the server's Pod.
func (s *Server) Pod() string { return s.options.App + "-" + s.options.Version }

// listen starts to serve.
func (s *Server) listen() error {
	listener, err := net.Listen("tcp", s.address.String())
	if err != nil {
		return fmt.Errorf("serve %s: %w", s.Pod(), err)
	}
	serving, done := grpc.NewServer(grpc.UnknownServiceHandler(s.handle)), make(chan struct{})
	s.mu.Lock()
	s.serving, s.done = serving, done
	s.mu.Unlock()
	go func() {
		defer close(done)
		_ = serving.Serve(listener) // it ends when it is stopped, and for no other reason
	}()
	return nil
}

// handle answers one call.
func (s *Server) handle(_ any, stream grpc.ServerStream) error {
	if err := stream.RecvMsg(&wrapperspb.StringValue{}); err != nil {
		return err
	}
	answer := Answer{App: s.options.App, Version: s.options.Version, Cluster: s.options.Cluster.Name}
	for _, app := range s.options.Calls {
		answer.Parts = append(answer.Parts, s.client.Call(stream.Context(), Request{Service: app}).Answer)
	}
	encoded, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return stream.SendMsg(wrapperspb.String(string(encoded)))
}

// Down does what the end of a container does: the Pod stops being Ready, calls under way end, and nothing listens.
func (s *Server) Down(ctx context.Context) error {
	if err := s.options.Cluster.setPodReady(ctx, s.options.Namespace, s.Pod(), corev1.ConditionFalse); err != nil {
		return err
	}
	s.halt((*grpc.Server).GracefulStop)
	return nil
}

// Up undoes Down.
func (s *Server) Up(ctx context.Context) error {
	if err := s.listen(); err != nil {
		return err
	}
	return s.options.Cluster.setPodReady(ctx, s.options.Namespace, s.Pod(), corev1.ConditionTrue)
}

// Crash ends the server as a crash would; its Pod stays Ready.
func (s *Server) Crash() { s.halt((*grpc.Server).Stop) }

// Stop ends the server and its client. The Pod stays.
func (s *Server) Stop() {
	s.halt((*grpc.Server).Stop)
	if s.client != nil {
		s.client.Close()
	}
}

func (s *Server) halt(stop func(*grpc.Server)) {
	s.mu.Lock()
	serving, done := s.serving, s.done
	s.serving = nil
	s.mu.Unlock()
	if serving != nil {
		stop(serving)
		<-done
	}
}

// setPodReady writes the condition Ready of a Pod, as its kubelet would.
func (c *Cluster) setPodReady(ctx context.Context, namespace, name string, ready corev1.ConditionStatus) error {
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		return err
	}
	pods := client.CoreV1().Pods(namespace)
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		pod, err := pods.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for i := range pod.Status.Conditions {
			if pod.Status.Conditions[i].Type == corev1.PodReady {
				pod.Status.Conditions[i].Status = ready
				_, err = pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
				return err
			}
		}
		return errors.New("it has no condition Ready")
	})
	if err != nil {
		return fmt.Errorf("make pod %s/%s ready=%s: %w", namespace, name, ready, err)
	}
	return nil
}
