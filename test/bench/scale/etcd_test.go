package scale_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/meshfence/meshfence/test/testbed"
)

// store writes the Services of a namespace as the API server stores them.
func store(ctx context.Context, cluster *testbed.Cluster, namespace string) error {
	info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	encoder := scheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion)
	values := map[string][]byte{}
	for i := range crowd {
		s := service(namespace, fmt.Sprintf("service-%03d", i), false)
		s.Spec.Selector = nil
		complete(s)
		encoded, err := runtime.Encode(encoder, s)
		if err != nil {
			return err
		}
		values["/registry/services/specs/"+namespace+"/"+s.Name] = encoded
	}
	return cluster.PutEtcd(ctx, values)
}

// complete adds what the API server does: defaults, and the record of who has written which field.
func complete(s *corev1.Service) {
	s.UID, s.CreationTimestamp = uuid.NewUUID(), metav1.NewTime(time.Now())
	var fields []string
	for i := range 20 {
		fields = append(fields, fmt.Sprintf(`"f:app.kubernetes.io/label-%d":{}`, i))
	}
	s.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: "helm", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", Time: &s.CreationTimestamp, FieldsType: "FieldsV1",
		FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{` + strings.Join(fields, ",") + `}}}`),
	}}
	s.Spec.ClusterIPs, s.Spec.Type = []string{s.Spec.ClusterIP}, corev1.ServiceTypeClusterIP
	s.Spec.SessionAffinity, s.Spec.InternalTrafficPolicy = corev1.ServiceAffinityNone, new(corev1.ServiceInternalTrafficPolicyCluster)
	s.Spec.IPFamilies, s.Spec.IPFamilyPolicy = []corev1.IPFamily{corev1.IPv4Protocol}, new(corev1.IPFamilyPolicySingleStack)
	for i := range s.Spec.Ports {
		s.Spec.Ports[i].Protocol = corev1.ProtocolTCP
		s.Spec.Ports[i].TargetPort.IntVal = s.Spec.Ports[i].Port
	}
}
