package certificate

import (
	"fmt"
	"math"
	"path/filepath"

	cmtls "github.com/cert-manager/cert-manager/pkg/server/tls"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
)

// Mounted serves the certificate in dir, a mounted Secret of type kubernetes.io/tls that someone else renews, such as a
// cert-manager Certificate whose CA the annotation cert-manager.io/inject-ca-from brings into the webhook configurations.
// Changed files are served within ten seconds. Files that are missing, broken or half replaced are retried for as long
// as it takes, while the last good certificate is served. The source is added to mgr, and so is the lookout, on the leader.
func Mounted(mgr ctrl.Manager, dir string, lookout Lookout) (*Serving, error) {
	lookout.Tell = teller(mgr)
	log := mgr.GetLogger().WithName("webhook-configurations")
	if err := mgr.Add(&lookoutRunner{&lookout, mgr.GetAPIReader(), log}); err != nil {
		return nil, fmt.Errorf("add the lookout to the manager: %w", err)
	}
	return addServing(mgr, &cmtls.FileCertificateSource{
		CertPath: filepath.Join(dir, corev1.TLSCertKey),
		KeyPath:  filepath.Join(dir, corev1.TLSPrivateKeyKey),
		// The library never sets its count of failures back: any limit would end a long-lived process.
		MaxFailures: math.MaxInt,
	}, observeMounted(filepath.Join(dir, "ca.crt"), lookout.Configurations, mgr.GetAPIReader()))
}
