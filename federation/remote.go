package federation

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waxwing-dm/waxwing/federation/httpsig"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/safehttp"
	"github.com/waxwing-dm/waxwing/internal/strictjson"
	"github.com/waxwing-dm/waxwing/transparency"
)

const (
	maxAnswer = 1 << 20  // bytes of another sidecar's answer (spec/wire.md)
	maxBlob   = 32 << 20 // bytes of a file
	keepFor   = 10 * time.Minute
	askAgain  = 10 * time.Second // a document fetched more recently is not fetched anew because a signature fails
	maxCached = 10_000
	jsonType  = "application/json"

	// What strangers make us ask for, by naming a key: so often of one host, so many at once, so long.
	askWindow  = 10 * time.Second
	maxAsked   = 50
	maxAsking  = 64 // and as many again of hosts that have answered well before, of one of them some only
	maxOfMet   = 8
	askTime    = 15 * time.Second
	acceptType = ContentType + `, application/ld+json; profile="https://www.w3.org/ns/activitystreams"`
)

// Signer is whose name a request goes out in.
type Signer struct {
	Actor string
	Key   *rsa.PrivateKey

	Ed25519 ed25519.PrivateKey // the service actor's second key; nobody else has one
}

// Remote asks other instances, in the name of this one's service actor. What they refuse comes back as a *[problem.Problem];
// other errors mean that they could not be asked. It is safe for concurrent use.
type Remote struct {
	// Seen, if set before anything is asked, gives what goes with each request to an instance of what is known of logs.
	Seen func(ctx context.Context, instance string) []transparency.Sighting
	// Signed, if set before anything is asked, is told whose signature holds of each call of an instance, whatever else may be wrong with it.
	Signed func(ctx context.Context, owner string)
	// Aside, if set before anything is asked, is called before something is asked because of a call, and what it returns when that has been answered.
	Aside func(ctx context.Context) (back func())

	http    *safehttp.Client
	service Signer
	schemes Schemes
	now     func() time.Time

	mu     sync.Mutex
	actors map[string]cached[RemoteActor]
	docs   map[string]cached[Discovery] // by instance
	noKeys map[string]cached[bool]      // by actor: asking for its key failed, and whether that is for good
	asked  map[string]cached[int]       // by host: how often keys were asked for, from when on
	asking int                          // keys that are being asked for
	met    map[string]cached[bool]      // hosts that have answered with an actor's document
	again  map[string]int               // of those, how much is being asked of each beside the rest
}

type cached[T any] struct {
	value T
	at    time.Time
}

// NewRemote makes the door out.
func NewRemote(http *safehttp.Client, service Signer, schemes Schemes, now func() time.Time) *Remote {
	return &Remote{http: http, service: service, schemes: schemes, now: now, actors: map[string]cached[RemoteActor]{}, docs: map[string]cached[Discovery]{}, noKeys: map[string]cached[bool]{}, asked: map[string]cached[int]{},
		met: map[string]cached[bool]{}, again: map[string]int{}}
}

func remember[T any](r *Remote, m map[string]cached[T], key string, value T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(m) >= maxCached {
		clear(m)
	}
	m[key] = cached[T]{value, r.now()}
}

func recall[T any](r *Remote, m map[string]cached[T], key string, maxAge time.Duration) (value T, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := m[key]
	return c.value, ok && r.now().Sub(c.at) < maxAge
}

// Actor fetches an actor document. With fresh it does so even if it has one, unless that is only seconds old.
func (r *Remote) Actor(ctx context.Context, id string, fresh bool) (RemoteActor, error) {
	age := keepFor
	if fresh {
		age = askAgain
	}
	if a, ok := recall(r, r.actors, id, age); ok {
		return a, nil
	}
	res, err := r.ask(ctx, r.service, http.MethodGet, id, nil, acceptType, maxDocument)
	if err != nil {
		return RemoteActor{}, err
	}
	if !isActivityStreams(res.Header) {
		return RemoteActor{}, fmt.Errorf("federation: reading actor %.200q: not served as %s: %w", id, ContentType, errActor)
	}
	a, err := ParseActor(res.Body, id)
	if err != nil {
		return RemoteActor{}, err
	}
	remember(r, r.actors, id, a)
	if origin, err := Origin(id); err == nil {
		remember(r, r.met, hostOf(origin), true)
	}
	if origin, err := Origin(id); err == nil && a.rfc9421 {
		r.learn(ctx, origin, SchemeRFC9421)
	}
	return a, nil
}

// Key finds the key of a signature (H6). It is an [httpsig.Keys]. Where it failed it does not ask again for some seconds:
// signatures that name keys of a third server must not make us a means to flood that server. For the same reason, and so that servers
// that answer slowly do not use us up, it asks only within bounds.
func (r *Remote) Key(ctx context.Context, keyID string, fresh bool) (httpsig.Key, error) {
	id, _, _ := strings.Cut(keyID, "#")
	origin, err := Origin(id)
	if err != nil {
		return httpsig.Key{}, noKey(true)
	}
	if a, ok := recall(r, r.actors, id, keepFor); ok && !fresh {
		if key, ok := a.key(keyID); ok {
			return httpsig.Key{Owner: a.ID, Public: key}, nil
		}
	}
	if forGood, failed := recall(r, r.noKeys, id, askAgain); failed {
		return httpsig.Key{}, noKey(forGood)
	}
	a, recent := recall(r, r.actors, id, askAgain)
	if !recent {
		err = r.forStranger(ctx, origin, func(ctx context.Context) error {
			a, err = r.Actor(ctx, id, true)
			return err
		})
	}
	key, found := a.key(keyID)
	switch {
	case err == nil && found:
		return httpsig.Key{Owner: a.ID, Public: key}, nil
	case err == nil:
		return httpsig.Key{}, noKey(true)
	case ctx.Err() == nil && !errors.Is(err, errTooMany):
		remember(r, r.noKeys, id, isFinal(err))
	}
	return httpsig.Key{}, noKey(isFinal(err))
}

var errTooMany = errors.New("too much is being asked for strangers")

// forStranger asks something of a host that nobody has vouched for, within bounds or not at all. Strangers who make us wait for hosts that
// never answer keep us from asking others like them; who has answered before is asked all the same.
func (r *Remote) forStranger(ctx context.Context, origin string, ask func(context.Context) error) error {
	done, ok := r.mayAsk(hostOf(origin))
	if !ok {
		return errTooMany
	}
	defer done()
	if r.Aside != nil {
		defer r.Aside(ctx)()
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return ask(ctx)
}

// Met says whether a host has answered with an actor's document before, as far as is remembered.
func (r *Remote) Met(origin string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.met[hostOf(origin)].value
}

// hostOf spells a host in one way.
func hostOf(origin string) string {
	return strings.TrimSuffix(strings.TrimSuffix(Host(origin), ":443"), ".")
}

func (r *Remote) mayAsk(host string) (done func(), ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.asked[host]
	if !ok || r.now().Sub(n.at) >= askWindow {
		if len(r.asked) >= maxCached {
			clear(r.asked)
		}
		n = cached[int]{at: r.now()}
	}
	met, leave := r.met[host].value, func() {}
	switch {
	case n.value >= maxAsked:
		return nil, false
	case r.asking < maxAsking:
		r.asking++
		leave = func() { r.asking-- }
	case met && r.again[host] < maxOfMet && len(r.again) < maxAsking/maxOfMet:
		r.again[host]++
		leave = func() {
			if r.again[host]--; r.again[host] == 0 {
				delete(r.again, host)
			}
		}
	default:
		return nil, false
	}
	n.value++
	r.asked[host] = n
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		leave()
	}, true
}

func noKey(forGood bool) error {
	if forGood {
		return problem.New(http.StatusForbidden, "actor_key_mismatch", "the key is not that of an actor who says so")
	}
	p := problem.New(http.StatusServiceUnavailable, "key_unavailable", "the key of the signature cannot be fetched now")
	p.RetryAfter = int(askAgain / time.Second)
	return p
}

// Discovery fetches an instance's discovery document.
func (r *Remote) Discovery(ctx context.Context, instance string) (Discovery, error) {
	if d, ok := recall(r, r.docs, instance, keepFor); ok {
		return d, nil
	}
	res, err := r.ask(ctx, r.service, http.MethodGet, instance+PathDiscovery, nil, jsonType, maxDocument)
	if err != nil {
		return Discovery{}, err
	}
	d, err := ParseDiscovery(res.Body, instance)
	if err != nil {
		return Discovery{}, err
	}
	remember(r, r.docs, instance, d)
	if slices.Contains(d.Signatures, announced) {
		r.learn(ctx, instance, SchemeService)
	}
	return d, nil
}

func (r *Remote) discoveryOf(ctx context.Context, u string) (Discovery, error) {
	instance, err := Origin(u)
	if err != nil {
		return Discovery{}, problem.New(http.StatusBadRequest, "request_invalid", "not the URL of an actor or conversation")
	}
	return r.Discovery(ctx, instance)
}

// Directory fetches the lookup answer for an actor, unverified.
func (r *Remote) Directory(ctx context.Context, actor string, from int64) ([]byte, error) {
	d, err := r.discoveryOf(ctx, actor)
	if err != nil {
		return nil, err
	}
	q := url.Values{"actor": {actor}, "from": {fmt.Sprint(from)}}
	res, err := r.ask(ctx, r.service, http.MethodGet, d.Directory+"?"+q.Encode(), nil, transparency.AnswerType, transparency.MaxAnswer)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// Log fetches what an instance's log has at a path below its URL, unverified.
func (r *Remote) Log(ctx context.Context, instance, path string, limit int64) ([]byte, error) {
	d, err := r.Discovery(ctx, instance)
	if err != nil {
		return nil, err
	}
	res, err := r.ask(ctx, r.service, http.MethodGet, d.Log.URL+path, nil, "application/octet-stream, text/plain", limit)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// ClaimRequest is the body of a claim between sidecars.
type ClaimRequest struct {
	Actor string `json:"actor"`
	For   string `json:"for,omitempty"` // who wants to write to them
}

// ClaimAnswer is its answer.
type ClaimAnswer struct {
	Packages []ClaimedPackage `json:"packages"`
}

// ClaimedPackage is one device's.
type ClaimedPackage struct {
	Device     string `json:"device"`
	KeyPackage []byte `json:"key_package"`
	LastResort bool   `json:"last_resort"`
}

// Claim takes one key package of each device of an actor, for a user of ours.
func (r *Remote) Claim(ctx context.Context, actor, user string) (answer ClaimAnswer, err error) {
	d, err := r.discoveryOf(ctx, actor)
	if err != nil {
		return ClaimAnswer{}, err
	}
	err = r.call(ctx, http.MethodPost, d.Claim, ClaimRequest{actor, user}, &answer)
	return answer, err
}

// Hub makes a call of spec/receipt.md to a hub or mirror, in JSON both ways. out may be nil if there is no answer but that it was done.
func (r *Remote) Hub(ctx context.Context, method, u string, in, out any) error {
	return r.call(ctx, method, u, in, out)
}

// Blob writes a file of another instance to w. Its hash is the caller's to compare.
func (r *Remote) Blob(ctx context.Context, u string, w io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return fmt.Errorf("federation: asking for a file: %w", err)
	}
	res, err := r.http.Stream(req, w, maxBlob)
	if err != nil {
		return fmt.Errorf("federation: asking for a file: %w", err)
	}
	if res.Status == http.StatusNotFound {
		return problem.New(http.StatusNotFound, "not_found", "the other instance has no such file")
	}
	if res.Status != http.StatusOK {
		return problem.Read(res.Status, res.Header, bytes.NewReader(nil))
	}
	return nil
}

// call sends and reads JSON.
func (r *Remote) call(ctx context.Context, method, u string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("federation: writing a request: %w", err)
		}
	}
	res, err := r.ask(ctx, r.service, method, u, body, jsonType, maxAnswer)
	if err != nil {
		return err
	}
	if out == nil {
		return nil
	}
	if err := strictjson.Unmarshal(res.Body, out); err != nil {
		return fmt.Errorf("federation: reading an answer: %w", err)
	}
	return nil
}

// ask makes one signed request. A body is of the type that is accepted in return.
func (r *Remote) ask(ctx context.Context, as Signer, method, u string, body []byte, accept string, limit int64) (*safehttp.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("federation: making a request: %w", err)
	}
	req.Header.Set("Accept", accept)
	if body != nil {
		req.Header.Set("Content-Type", accept)
	}
	if r.Seen != nil {
		SetSightings(req.Header, r.Seen(ctx, req.URL.Scheme+"://"+req.URL.Host))
	}
	scheme, err := r.sign(ctx, as, req, body)
	if err != nil {
		return nil, fmt.Errorf("federation: making a request: %w", err)
	}
	res, err := r.http.Do(req, limit)
	if err != nil {
		return nil, fmt.Errorf("federation: %w", err)
	}
	if res.Status/100 != 2 {
		p := problem.Read(res.Status, res.Header, bytes.NewReader(res.Body))
		if r.refused(ctx, req.URL.Scheme+"://"+req.URL.Host, scheme, res, p) {
			return nil, fmt.Errorf("federation: %w: %w", errOtherScheme, p)
		}
		return nil, p
	}
	return res, nil
}
