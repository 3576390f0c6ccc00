package search

import (
	networking "istio.io/api/networking/v1alpha3"
	"istio.io/istio/pkg/config/host"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type (
	metav1Time     = metav1.Time
	virtualService = networking.VirtualService
	hostName       = host.Name
)
