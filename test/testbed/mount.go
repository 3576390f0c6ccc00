package testbed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// mountEvery is how often a mounted Secret is read again. A kubelet takes about a minute.
const mountEvery = 500 * time.Millisecond

// mounts owns what keeps mounted Secrets up to date. The zero value is ready to use.
type mounts struct {
	cancels []context.CancelFunc
	running sync.WaitGroup
}

// stop returns when nothing is written any more.
func (m *mounts) stop() {
	for _, cancel := range m.cancels {
		cancel()
	}
	m.running.Wait()
}

// mountSecrets does the kubelet's work for the Secrets among the volumes of a Pod: it waits until they exist, writes
// them into folders and keeps those up to date. It returns the arguments of the Pod's container with those folders in
// the place of the mount paths.
func (m *Meshfence) mountSecrets(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod) ([]string, error) {
	container := pod.Spec.Containers[0]
	var replacements []string
	for _, volume := range pod.Spec.Volumes {
		if volume.Secret == nil {
			continue
		}
		dir := m.cluster.file(pod.Name + "-" + volume.Name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		mounted := secretMount{client: client, namespace: pod.Namespace, name: volume.Secret.SecretName, dir: dir}
		if err := m.mounts.add(ctx, &mounted, m.cluster.file(pod.Name+".log")); err != nil {
			return nil, err
		}
		for _, mount := range container.VolumeMounts {
			if mount.Name == volume.Name {
				replacements = append(replacements, mount.MountPath, dir)
			}
		}
	}
	replacer := strings.NewReplacer(replacements...)
	var args []string
	for _, arg := range container.Args {
		args = append(args, replacer.Replace(arg))
	}
	return args, nil
}

// secretMount is a folder with the content of a Secret.
type secretMount struct {
	client    kubernetes.Interface
	namespace string
	name      string
	dir       string
	version   string // of the Secret that is in dir
}

// update writes the Secret where it has changed. Like a kubelet, it keeps the last content of a Secret that is gone.
func (s *secretMount) update(ctx context.Context) error {
	secret, err := s.client.CoreV1().Secrets(s.namespace).Get(ctx, s.name, metav1.GetOptions{})
	if err != nil || secret.ResourceVersion == s.version {
		return err
	}
	if err := writeSecret(s.dir, secret); err != nil {
		return err
	}
	s.version = secret.ResourceVersion
	return nil
}

// add returns when the Secret is in its folder. What goes wrong later is tried again, and told in the log, which is the
// one of the Pod's process.
func (m *mounts) add(ctx context.Context, s *secretMount, log string) error {
	if err := Eventually(ctx, readyWithin, s.update); err != nil {
		return fmt.Errorf("mount secret %s: %w", s.name, err)
	}
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("mount secret %s: %w", s.name, err)
	}
	logger := slog.New(slog.NewTextHandler(file, nil))
	ctx, cancel := context.WithCancel(ctx)
	m.cancels = append(m.cancels, cancel)
	m.running.Go(func() {
		defer file.Close()
		ticker := time.NewTicker(mountEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				if err := s.update(ctx); err != nil && ctx.Err() == nil {
					logger.ErrorContext(ctx, "update mounted secret", "secret", s.name, "error", err)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	return nil
}

// writeSecret replaces all files of dir at once, as a kubelet does: every key is a link through ..data, which is a link
// to a folder that is never written again.
func writeSecret(dir string, secret *corev1.Secret) error {
	data := filepath.Join(dir, "..data")
	old, err := os.Readlink(data)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	current, err := os.MkdirTemp(dir, "..")
	if err != nil {
		return err
	}
	for key, value := range secret.Data {
		if err := os.WriteFile(filepath.Join(current, key), value, 0o600); err != nil {
			return err
		}
	}
	if err := os.Symlink(filepath.Base(current), data+"_tmp"); err != nil {
		return err
	}
	if err := os.Rename(data+"_tmp", data); err != nil {
		return err
	}
	for key := range secret.Data {
		err := os.Symlink(filepath.Join("..data", key), filepath.Join(dir, key))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	if old == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, old))
}
