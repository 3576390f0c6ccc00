// Package testbed runs real Kubernetes control planes for tests and programs, without a container engine, without
// root and without leaving anything behind.
//
// A test package opts in from TestMain, a program from main:
//
//	func TestMain(m *testing.M) { testbed.Main(m) }
//
//	func main() { os.Exit(testbed.Run(func(ctx context.Context) int { ... })) }
//
// Both start the same binary again in user, network, pid and mount namespaces of its own, where fixed addresses and
// ports cannot clash with anything, state lies on a tmpfs, and every process dies with the first one. In there,
// [Start] brings up etcd, kube-apiserver and kube-controller-manager, and [StartProcess] anything else.
package testbed
