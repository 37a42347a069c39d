package federation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	sf "github.com/dunglas/httpsfv"

	"github.com/waxwing-dm/waxwing/federation/httpsig"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/safehttp"
)

// Scheme is how requests to a host are signed. Everybody can read the first. The others are for hosts that have shown that they
// can: some answer 202 to what they cannot read and drop it, so that nobody finds out by trying.
type Scheme string

// The schemes, from the one that needs the least to be known of a host.
const (
	SchemeCavage  Scheme = "cavage"          // draft-cavage, the sender's RSA key
	SchemeRFC9421 Scheme = "rfc9421"         // RFC 9421, the sender's RSA key
	SchemeService Scheme = "rfc9421-service" // RFC 9421, the Ed25519 key of the service actor: between sidecars
)

// Schemes is what is remembered of hosts, by origin. Scheme gives "" for a host of which nothing is known.
type Schemes interface {
	Scheme(ctx context.Context, host string) (s Scheme, learnt time.Time, err error)
	SetScheme(ctx context.Context, host string, s Scheme, learnt time.Time) error
}

const (
	trustRefusal = 24 * time.Hour // so long a host that has refused RFC 9421 gets cavage, whatever it says
	writeAgain   = 24 * time.Hour // what is known already is not written anew before
)

// announced is what a discovery document says of a sidecar that verifies as spec/wire.md has it.
const announced = "rfc9421"

// errOtherScheme: the request was refused for how it was signed, and the next one to that host is signed otherwise.
var errOtherScheme = errors.New("the next request to that host is signed in the other way")

// learn notes what a host takes, unless a refusal of the same was seen lately, or more of it is known already. That it cannot be
// written down is no reason to fail what taught it; cavage goes on.
func (r *Remote) learn(ctx context.Context, host string, s Scheme) {
	known, at, err := r.schemes.Scheme(ctx, host)
	age := r.now().Sub(at)
	switch {
	case err != nil:
		return
	case known == SchemeCavage && age >= 0 && age < trustRefusal:
		return
	case known == s && age < writeAgain, known == SchemeService && s == SchemeRFC9421:
		return
	}
	_ = r.schemes.SetScheme(ctx, host, s, r.now())
}

// Learn notes that a request of a host has been verified.
func (r *Remote) Learn(ctx context.Context, host string, h http.Header) {
	if httpsig.SchemeOf(h) == httpsig.RFC9421 {
		r.learn(ctx, host, SchemeRFC9421)
	}
}

// refused looks at a 401 and says whether the next request will be signed otherwise. A host that asks for RFC 9421 by its answer
// (section 5.1 there) gets it; one that has refused RFC 9421 gets cavage, unless the clocks are what differs.
func (r *Remote) refused(ctx context.Context, host string, sent Scheme, res *safehttp.Response, p *problem.Problem) bool {
	if res.Status != http.StatusUnauthorized {
		return false
	}
	if sent != SchemeCavage {
		return p.Code != "signature_expired" && r.schemes.SetScheme(ctx, host, SchemeCavage, r.now()) == nil
	}
	if !asksForRFC9421(res.Header) {
		return false
	}
	r.learn(ctx, host, SchemeRFC9421)
	known, _, err := r.schemes.Scheme(ctx, host)
	return err == nil && known == SchemeRFC9421
}

func asksForRFC9421(h http.Header) bool {
	values := h.Values("Accept-Signature")
	if len(values) != 1 || len(values[0]) > 4<<10 {
		return false
	}
	d, err := sf.UnmarshalDictionary(values)
	return err == nil && len(d.Names()) > 0
}

// sign signs a request in the way its host is known to take.
func (r *Remote) sign(ctx context.Context, as Signer, req *http.Request, body []byte) (Scheme, error) {
	s, _, err := r.schemes.Scheme(ctx, req.URL.Scheme+"://"+req.URL.Host)
	if err != nil {
		return "", fmt.Errorf("looking up how its host takes it: %w", err)
	}
	switch {
	case s == SchemeService && r.service.Ed25519 != nil:
		return s, httpsig.SignRFC9421(req, body, Ed25519KeyID(r.service.Actor), r.service.Ed25519, r.now())
	case s == SchemeService, s == SchemeRFC9421:
		return s, httpsig.SignRFC9421(req, body, KeyID(as.Actor), as.Key, r.now())
	}
	return SchemeCavage, httpsig.Sign(req, body, KeyID(as.Actor), as.Key, r.now())
}

// implementsRFC9421 reads what an actor's generator says of itself (FEP-844e): links to the specifications that it follows.
func implementsRFC9421(links []string) bool {
	for _, href := range links {
		for _, site := range []string{"https://datatracker.ietf.org/", "https://www.rfc-editor.org/"} {
			if strings.HasPrefix(href, site) && strings.HasSuffix(strings.TrimSuffix(strings.ToLower(href), ".html"), "/rfc9421") {
				return true
			}
		}
	}
	return false
}
