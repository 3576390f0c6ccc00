package registry

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	// allowedFor and refusedFor are how long an answer of the API server counts, also when a right is taken away or given.
	allowedFor = time.Minute
	refusedFor = 10 * time.Second
	// reviewTimeout bounds what one request asks the API server, and reviewRate what all of them ask in a second: whoever
	// reaches the port can send tokens.
	reviewTimeout = 10 * time.Second
	reviewRate    = 5
	// knownReaders is how many answers are kept.
	knownReaders = 256
)

// ProxiedAuthorization is the header that counts where there is no Authorization: the proxy of an API server, past which a user
// reaches a Pod, keeps that one to itself (WithAuthentication in k8s.io/apiserver/pkg/endpoints/filters/authentication.go).
const ProxiedAuthorization = "Meshfence-Authorization"

// Readers are those who may read metrics: whose token the API server knows (TokenReview), and whom it allows to get the path
// (SubjectAccessReview).
type Readers struct {
	tokens authenticationclient.TokenReviewInterface
	access authorizationclient.SubjectAccessReviewInterface
	known  *cache.LRUExpireCache
}

// NewReaders returns those of a cluster.
func NewReaders(tokens authenticationclient.TokenReviewInterface, access authorizationclient.SubjectAccessReviewInterface) *Readers {
	return &Readers{tokens: tokens, access: access, known: cache.NewLRUExpireCache(knownReaders)}
}

// OnlyReaders is a FilterProvider of controller-runtime's metrics server.
func OnlyReaders(config *rest.Config, httpClient *http.Client) (metricsserver.Filter, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = reviewRate, 2*reviewRate
	authentication, err := authenticationclient.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("client of token reviews: %w", err)
	}
	authorization, err := authorizationclient.NewForConfigAndClient(config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("client of access reviews: %w", err)
	}
	return NewReaders(authentication.TokenReviews(), authorization.SubjectAccessReviews()).Filter, nil
}

// Filter lets a handler answer readers alone. Others get 401 without a token that counts, and 403 without the right; whom
// the API server does not judge gets 500.
func (r *Readers) Filter(log logr.Logger, next http.Handler) (http.Handler, error) {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		status, err := r.judge(request)
		if err != nil {
			log.Info("whether somebody may read metrics cannot be told", "reason", err.Error())
		}
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		if status != http.StatusOK {
			http.Error(w, http.StatusText(status), status)
			return
		}
		next.ServeHTTP(w, request)
	}), nil
}

// asked is what an answer is for. Tokens are not kept.
type asked struct {
	token [sha256.Size]byte
	path  string
}

// judge returns the status of the answer, 200 for a reader; the error is why the API server did not say.
func (r *Readers) judge(request *http.Request) (int, error) {
	scheme, token, _ := strings.Cut(cmp.Or(request.Header.Get("Authorization"), request.Header.Get(ProxiedAuthorization)), " ")
	switch {
	case request.Method != http.MethodGet:
		return http.StatusMethodNotAllowed, nil
	case !strings.EqualFold(scheme, "Bearer") || token == "":
		return http.StatusUnauthorized, nil
	}
	key := asked{sha256.Sum256([]byte(token)), request.URL.Path}
	if status, ok := r.known.Get(key); ok {
		return status.(int), nil
	}
	ctx, cancel := context.WithTimeout(request.Context(), reviewTimeout)
	defer cancel()
	status, err := r.review(ctx, token, request.URL.Path)
	switch {
	case err != nil:
		return http.StatusInternalServerError, err
	case status == http.StatusOK:
		r.known.Add(key, status, allowedFor)
	default:
		r.known.Add(key, status, refusedFor)
	}
	return status, nil
}

// review asks the API server.
func (r *Readers) review(ctx context.Context, token, path string) (int, error) {
	who, err := r.tokens.Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return 0, fmt.Errorf("ask whose token it is: %w", err)
	}
	if !who.Status.Authenticated {
		return http.StatusUnauthorized, nil
	}
	user := who.Status.User
	extra := map[string]authorizationv1.ExtraValue{}
	for name, values := range user.Extra {
		extra[name] = authorizationv1.ExtraValue(values)
	}
	may, err := r.access.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: "get", Path: path},
	}}, metav1.CreateOptions{})
	if err != nil {
		return 0, fmt.Errorf("ask who may get %s: %w", path, err)
	}
	if !may.Status.Allowed {
		return http.StatusForbidden, nil
	}
	return http.StatusOK, nil
}
