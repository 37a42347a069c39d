package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/safehttp"
	"github.com/waxwing-dm/waxwing/internal/strictjson"
)

const maxDocument = 256 << 10 // bytes of a discovery or WebFinger document

var (
	// ErrHandle is for what is not a handle like @alice@a.example.
	ErrHandle = errors.New("not a handle like @alice@a.example")
	// ErrNobody is for a handle that its host knows nothing of.
	ErrNobody = errors.New("there is nobody by that name")
	// ErrNotCapable is for an instance without a sidecar.
	ErrNotCapable = errors.New("the instance does not offer encrypted messages")
	// ErrUnproven is for a directory answer that does not prove what it says. It is not a matter of the line.
	ErrUnproven = errors.New("the directory's answer does not prove what it says")
	// ErrUnreachable is for an instance that did not answer usefully.
	ErrUnreachable = errors.New("the instance cannot be reached now")
	// ErrLog is for the own instance, when it did not give out all of its log.
	ErrLog = errors.New("your instance did not give out all of its log")
	// ErrAway is for the own instance, when it did not answer usefully.
	ErrAway = errors.New("your instance cannot be reached now")
)

// discovery is what an agent needs of /.well-known/waxwing (spec/wire.md).
type discovery struct {
	Version  int    `json:"version"`
	Instance string `json:"instance"`
	API      string `json:"api"`
	Log      struct {
		Origin string `json:"origin"`
		Key    string `json:"key"`
		VRF    []byte `json:"vrf"`
	} `json:"log"`
	Hub struct {
		Key []byte `json:"key"`
	} `json:"hub"`
}

// discover asks an instance itself: what is pinned must come from no one else.
func (a *Agent) discover(ctx context.Context, instance string) (d discovery, err error) {
	body, err := a.fetch(ctx, instance+"/.well-known/waxwing")
	if errors.Is(err, errNotThere) {
		return d, fmt.Errorf("agent: asking %s: %w", instance, errNoDirectory)
	}
	if err != nil {
		return d, err
	}
	if err := strictjson.Unmarshal(body, &d); err != nil {
		return d, fmt.Errorf("agent: reading the discovery document of %s: %w", instance, ErrNotCapable)
	}
	if d.Version != 1 || d.Instance != instance || d.API != instance+apiPath {
		return d, fmt.Errorf("agent: the discovery document of %s is not one of version 1 for that instance: %w", instance, ErrNotCapable)
	}
	return d, nil
}

var errNotThere = errors.New("not found")

// errNoDirectory is for an instance that says itself that it has no discovery document. Any other answer may be that of one whose directory is out
// of order, and is no reason to do without it.
var errNoDirectory = fmt.Errorf("%w: it has no directory", ErrNotCapable)

// fetch asks for a public document.
func (a *Agent) fetch(ctx context.Context, u string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, fmt.Errorf("agent: making a request: %w", err)
	}
	req.Header.Set("Accept", "application/json, application/jrd+json")
	res, err := a.http.Do(req, maxDocument)
	switch {
	case errors.Is(err, safehttp.ErrRefused):
		return nil, fmt.Errorf("agent: asking %s: %w", req.URL.Host, err)
	case err != nil:
		return nil, fmt.Errorf("agent: asking %s: %w", req.URL.Host, errors.Join(ErrUnreachable, err))
	case res.Status == http.StatusNotFound || res.Status == http.StatusGone:
		return nil, fmt.Errorf("agent: asking %s: %w", req.URL.Host, errNotThere)
	case res.Status != http.StatusOK:
		return nil, fmt.Errorf("agent: asking %s: it answered %d: %w", req.URL.Host, res.Status, ErrUnreachable)
	}
	return res.Body, nil
}

// instanceAt is the origin of a host. Only the hosts of a sandbox speak plain http.
func (a *Agent) instanceAt(host string) string {
	if _, ok := a.hosts[host]; ok {
		return "http://" + host
	}
	return "https://" + host
}

// parseHandle splits @alice@a.example, with or without the first @.
func parseHandle(handle string) (name, host string, err error) {
	name, host, ok := strings.Cut(strings.TrimPrefix(handle, "@"), "@")
	host = strings.ToLower(host)
	u, uerr := url.Parse("https://" + host + "/")
	if !ok || name == "" || len(handle) > 320 || strings.ContainsAny(name, "/?#&@ \t\r\n") || uerr != nil || host == "" || u.Host != host || u.User != nil {
		return "", "", fmt.Errorf("agent: %.100q: %w", handle, ErrHandle)
	}
	return name, host, nil
}

// Resolve finds the actor of a handle by WebFinger (RFC 7033), from the handle's host itself. Somebody whose keys were proven
// before is known without asking, so that they can be written to while their instance is away.
func (a *Agent) Resolve(ctx context.Context, handle string) (actor string, err error) {
	if strings.Contains(handle, "://") { // who has no handle of a common form is shown by their URL, and may be named by it once they are known
		if _, known, err := a.device.Contact(handle); err == nil && known {
			return handle, nil
		}
	}
	name, host, err := parseHandle(handle)
	if err != nil {
		return "", err
	}
	instance := a.instanceAt(host)
	if actor := instance + "/users/" + name; HandleOf(actor) == "@"+name+"@"+host {
		if c, _, err := a.device.Contact(actor); err == nil && c.State == device.ContactReady {
			return actor, nil
		}
	}
	q := url.Values{"resource": {"acct:" + name + "@" + host}}
	body, err := a.fetch(ctx, instance+"/.well-known/webfinger?"+q.Encode())
	if errors.Is(err, errNotThere) {
		return "", fmt.Errorf("agent: looking for @%s@%s: %w", name, host, ErrNobody)
	}
	if err != nil {
		return "", err
	}
	return selfLink(body, instance)
}

// selfLink takes the actor out of a JRD. It must live on the host that was asked: an actor elsewhere is vouched for by nobody.
func selfLink(body []byte, instance string) (string, error) {
	var jrd struct {
		Links []struct {
			Rel  string `json:"rel"`
			Type string `json:"type"`
			Href string `json:"href"`
		} `json:"links"`
	}
	if err := strictjson.Unmarshal(body, &jrd); err != nil {
		return "", fmt.Errorf("agent: reading the WebFinger answer of %s: %w", instance, ErrUnreachable)
	}
	for _, l := range jrd.Links {
		activity := l.Type == "application/activity+json" || strings.HasPrefix(l.Type, "application/ld+json")
		if l.Rel == "self" && activity && strings.HasPrefix(l.Href, instance+"/") {
			return l.Href, nil
		}
	}
	return "", fmt.Errorf("agent: reading the WebFinger answer of %s: it names no actor of that host: %w", instance, ErrNobody)
}

// HandleOf writes an actor the way people do. Where the URL is not just a host and a plain name, it is the URL: what stands in front of a
// message must not read like another person's line, and one handle must not stand for two actors.
func HandleOf(actor string) string {
	u, err := url.Parse(actor)
	if err != nil {
		return actor
	}
	name, ok := strings.CutPrefix(u.Path, "/users/")
	if !ok || name == "" || strings.ContainsFunc(name, notInName) || actor != u.Scheme+"://"+u.Host+"/users/"+name {
		return actor
	}
	return "@" + name + "@" + u.Host
}

// notInName: a name has letters, digits and what Fediverse servers allow between them.
func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' && r != '.'
}

// lookup asks the directory for an actor, through the own sidecar, and lets the device judge the answer. The log of an instance
// that is met for the first time is pinned before.
func (a *Agent) lookup(ctx context.Context, actor string) error {
	sidecar, err := a.sidecar()
	if err != nil {
		return err
	}
	pinned, from, err := a.device.LogOf(actor)
	if err != nil {
		return err
	}
	if !pinned {
		err := a.pin(ctx, actor)
		if errors.Is(err, errNoDirectory) {
			return a.device.NoDirectory(actor)
		}
		if errors.Is(err, ErrNotCapable) {
			return a.device.Unknown(actor)
		}
		if err != nil {
			return err
		}
	}
	answer, err := sidecar.Lookup(ctx, actor, from)
	var refused *problem.Problem
	if errors.As(err, &refused) && (refused.Code == "erased" || refused.Code == "no_such_recipient") {
		return a.device.Unknown(actor)
	}
	if err != nil {
		return away(err)
	}
	return a.learn(actor, answer)
}

// learn lets the device judge an answer. That witnesses are missing is no fault of the answer's.
func (a *Agent) learn(actor string, answer []byte) error {
	_, err := a.device.Learn(actor, answer)
	return unproven(err)
}

func unproven(err error) error {
	var unseen *device.NotWitnessedError
	if err == nil || errors.As(err, &unseen) {
		return err
	}
	return errors.Join(ErrUnproven, err)
}

// away marks the error of a call that the own sidecar did not answer.
func away(err error) error {
	var p *problem.Problem
	if err == nil || errors.As(err, &p) && !foreign(p) || errors.Is(err, safehttp.ErrRefused) {
		return err
	}
	return errors.Join(ErrAway, err)
}

// foreign tells answers that no sidecar gave but something that stands before it, like a proxy while the sidecar is being replaced.
func foreign(p *problem.Problem) bool { return strings.HasPrefix(p.Code, "http_") }

func (a *Agent) pin(ctx context.Context, actor string) error {
	u, err := url.Parse(actor)
	if err != nil {
		return fmt.Errorf("agent: %.100q: %w", actor, ErrHandle)
	}
	d, err := a.discover(ctx, a.instanceAt(u.Host))
	if err != nil {
		return err
	}
	return a.device.PinLog(d.Instance, d.Log.Origin, d.Log.Key, d.Log.VRF)
}
