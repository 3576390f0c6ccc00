package uninstall

import (
	"context"
	"fmt"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy/object"
)

// helmRelease is the annotation by which Helm knows the objects of a release.
const helmRelease = "meta.helm.sh/release-name"

// Install is what is there of the installation itself.
type Install struct {
	// Configurations are the webhook configurations, in the order in which they go: what is not completed on the way in
	// would be refused by the validating one.
	Configurations []client.Object
	// Deployment runs the replicas; nil where there is none, and Pods counts those that run.
	Deployment *appsv1.Deployment
	Pods       int
}

// Runs reports whether somebody is called, or may write.
func (i Install) Runs() bool {
	return len(i.Configurations) > 0 || i.Pods > 0 || i.scaled()
}

func (i Install) scaled() bool {
	return i.Deployment != nil && ptr.Deref(i.Deployment.Spec.Replicas, 1) > 0
}

// Steps says in a line each what is done to stop it.
func (i Install) Steps() []string {
	var steps []string
	for _, o := range i.Configurations {
		steps = append(steps, fmt.Sprintf("%s %s: delete it", kindOf(o), o.GetName()))
	}
	if i.scaled() || i.Pods > 0 {
		steps = append(steps, fmt.Sprintf("Deployment %s/%s: scale it to 0, and wait until its Pods are gone", i.Deployment.Namespace, i.Deployment.Name))
	}
	return steps
}

// Helm returns the name of the Helm release that the installation is; empty for none.
func (i Install) Helm() string {
	if i.Deployment == nil {
		return ""
	}
	return i.Deployment.Annotations[helmRelease]
}

func kindOf(o client.Object) string {
	if _, mutating := o.(*admissionv1.MutatingWebhookConfiguration); mutating {
		return object.KindMutatingConfiguration
	}
	return object.KindValidatingConfiguration
}

// installed reads what is there. The error may be that another installation has the cluster.
func (u *Uninstaller) installed(ctx context.Context) (Install, error) {
	another, err := u.Install.Another(ctx, u.Client)
	if err != nil {
		return Install{}, err
	}
	if another != "" {
		return Install{}, fmt.Errorf("the webhook configurations call Service %s and not %s: another installation has the cluster, and this one writes nothing; remove it alone, or name the other by --install-namespace",
			another, u.Install.Service)
	}
	var i Install
	for _, o := range []client.Object{
		&admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: u.Install.Validating}},
		&admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: u.Install.Mutating}},
	} {
		if err := u.Client.Get(ctx, client.ObjectKeyFromObject(o), o); err == nil {
			i.Configurations = append(i.Configurations, o)
		} else if !apierrors.IsNotFound(err) {
			return Install{}, fmt.Errorf("get %s: %w", kindOf(o), err)
		}
	}
	var deployment appsv1.Deployment
	if err := u.Client.Get(ctx, u.Install.Service, &deployment); apierrors.IsNotFound(err) {
		return i, nil
	} else if err != nil {
		return Install{}, fmt.Errorf("get Deployment %s: %w", u.Install.Service, err)
	}
	i.Deployment = &deployment
	pods, err := cluster.PodsOf(ctx, u.Client, &deployment)
	i.Pods = len(pods)
	return i, err
}

// podsEvery is how often it is asked for the Pods.
const podsEvery = 200 * time.Millisecond

// stop has nobody called and nobody write any more.
func (u *Uninstaller) stop(ctx context.Context, install Install) error {
	for _, o := range install.Configurations {
		if err := client.IgnoreNotFound(u.Client.Delete(ctx, o)); err != nil {
			return fmt.Errorf("delete %s: %w", kindOf(o), err)
		}
		fmt.Fprintf(u.Out, "%s %s: deleted\n", kindOf(o), o.GetName())
	}
	if install.scaled() {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec": {"replicas": 0}}`))
		if err := u.Client.Patch(ctx, install.Deployment, patch, client.FieldOwner(fieldOwner)); err != nil {
			return fmt.Errorf("scale Deployment %s: %w", u.Install.Service, err)
		}
		fmt.Fprintf(u.Out, "Deployment %s: scaled to 0\n", u.Install.Service)
	}
	if install.Deployment == nil {
		return nil
	}
	var names []string
	err := wait.PollUntilContextTimeout(ctx, podsEvery, u.Wait, true, func(ctx context.Context) (bool, error) {
		pods, err := cluster.PodsOf(ctx, u.Client, install.Deployment)
		names = nil
		for _, pod := range pods {
			names = append(names, pod.Name)
		}
		return len(names) == 0, err
	})
	if err != nil && len(names) > 0 {
		return fmt.Errorf("the Pods %s have not ended, and may still write: %w", strings.Join(names, ", "), err)
	}
	return err
}
