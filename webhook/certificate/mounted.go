package certificate

import (
	"math"
	"path/filepath"

	cmtls "github.com/cert-manager/cert-manager/pkg/server/tls"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
)

// Mounted serves the certificate in dir, a mounted Secret of type kubernetes.io/tls that someone else renews, such as a
// cert-manager Certificate whose CA the annotation cert-manager.io/inject-ca-from brings into the webhook configurations.
// Changed files are served within ten seconds. Files that are missing, broken or half replaced are retried for as long
// as it takes, while the last good certificate is served. The source is added to mgr.
func Mounted(mgr ctrl.Manager, dir string) (*Serving, error) {
	return addServing(mgr, &cmtls.FileCertificateSource{
		CertPath: filepath.Join(dir, corev1.TLSCertKey),
		KeyPath:  filepath.Join(dir, corev1.TLSPrivateKeyKey),
		// The library never sets its count of failures back: any limit would end a long-lived process.
		MaxFailures: math.MaxInt,
	}, observeFile(filepath.Join(dir, "ca.crt")))
}
