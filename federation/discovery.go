package federation

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/waxwing-dm/waxwing/internal/strictjson"
	"github.com/waxwing-dm/waxwing/transparency"
)

// Paths below an instance's origin.
const (
	PathDiscovery     = "/.well-known/waxwing"
	PathWebFinger     = "/.well-known/webfinger"
	PathActor         = "/waxwing/actor"
	PathInbox         = "/waxwing/inbox"
	PathClaim         = "/waxwing/claim"
	PathDirectory     = "/waxwing/directory"
	PathLog           = "/waxwing/log/"
	PathBlobs         = "/waxwing/blobs/"
	PathConversations = "/waxwing/conversations/"
	PathActivities    = "/waxwing/activities/"
	PathObjects       = "/waxwing/objects/"
	PathAPI           = "/waxwing/v1"
	PathUsers         = "/users/"
)

const maxDocument = 256 << 10 // bytes of an actor, discovery or WebFinger document

// Discovery is the document at /.well-known/waxwing (spec/wire.md).
type Discovery struct {
	Version   int    `json:"version"`
	Instance  string `json:"instance"`
	Actor     string `json:"actor"`
	API       string `json:"api"`
	Claim     string `json:"claim"`
	Directory string `json:"directory"`
	Log       struct {
		Origin string `json:"origin"`
		Key    string `json:"key"`
		VRF    []byte `json:"vrf"`
		URL    string `json:"url"`
	} `json:"log"`
	Hub struct {
		Key []byte `json:"key"`
	} `json:"hub"`
	Signatures []string `json:"signatures"` // the kinds of HTTP signature that are verified here beside draft-cavage
	// Witness is what the instance is to the logs of others (spec/witness.md): a submission prefix and the vkeys of both statements.
	// An instance may have none.
	Witness struct {
		URL     string `json:"url"`
		Key     string `json:"key"`
		Auditor string `json:"auditor"`
	} `json:"witness,omitzero"`
}

// NewDiscovery fills in the document of an instance, given as its origin without a slash at the end.
func NewDiscovery(instance, logKey string, vrfKey, hubKey []byte) Discovery {
	d := Discovery{
		Version: 1, Instance: instance, Actor: instance + PathActor, API: instance + PathAPI,
		Claim: instance + PathClaim, Directory: instance + PathDirectory,
	}
	d.Log.Origin, d.Log.Key, d.Log.VRF, d.Log.URL = transparency.Origin(Host(instance), vrfKey), logKey, vrfKey, instance+PathLog
	d.Hub.Key, d.Signatures = hubKey, []string{announced}
	return d
}

const maxLogKey = 1 << 10 // bytes of a note verifier key; its name is the origin

var errDiscovery = errors.New("not a discovery document that can be used")

// ParseDiscovery reads the document that an instance serves; everything in it must be on its own origin.
func ParseDiscovery(data []byte, instance string) (Discovery, error) {
	var d Discovery
	if err := strictjson.Unmarshal(data, &d); err != nil {
		return Discovery{}, fmt.Errorf("federation: reading the discovery document of %s: %w: %w", instance, errDiscovery, err)
	}
	want := NewDiscovery(instance, d.Log.Key, d.Log.VRF, d.Hub.Key)
	if d.Version != 1 || d.Instance != instance || d.Log.Origin != want.Log.Origin || len(d.Log.VRF) != 32 || len(d.Hub.Key) != 32 || len(d.Log.Key) > maxLogKey {
		return Discovery{}, fmt.Errorf("federation: discovery document of %s: not one of version 1 for that instance: %w", instance, errDiscovery)
	}
	if len(d.Witness.Key) > maxLogKey || len(d.Witness.Auditor) > maxLogKey {
		return Discovery{}, fmt.Errorf("federation: discovery document of %s: the keys of its witness are too long: %w", instance, errDiscovery)
	}
	urls := []string{d.Actor, d.API, d.Claim, d.Directory, d.Log.URL}
	if d.Witness.URL != "" {
		urls = append(urls, d.Witness.URL)
	}
	for _, u := range urls {
		if o, err := Origin(u); err != nil || o != instance {
			return Discovery{}, fmt.Errorf("federation: discovery document of %s: %.100q is on another origin: %w", instance, u, errDiscovery)
		}
	}
	d.Signatures = slices.DeleteFunc(d.Signatures, func(s string) bool { return s != announced })
	d.Signatures = slices.Clip(slices.Compact(d.Signatures)) // what is kept of a stranger's document must be small
	return d, nil
}

// Origin is scheme, host and port of a URL that may name an actor, an activity or a service: absolute, http or https, no user.
func Origin(u string) (string, error) {
	p, err := url.Parse(u)
	if err != nil || len(u) > 2048 || p.Scheme != "https" && p.Scheme != "http" || p.Hostname() == "" || strings.HasSuffix(p.Host, ":") || p.User != nil || p.Opaque != "" ||
		p.Host != strings.ToLower(p.Host) {
		return "", fmt.Errorf("federation: %.100q is not a URL that can be used", u)
	}
	return p.Scheme + "://" + p.Host, nil
}

// Host of an origin.
func Host(origin string) string {
	_, host, _ := strings.Cut(origin, "://")
	return host
}

// WebFinger is the JRD (RFC 7033) of an actor.
func WebFinger(subject, actor string) ([]byte, error) {
	return json.Marshal(map[string]any{
		"subject": "acct:" + subject,
		"aliases": []string{actor},
		"links":   []map[string]string{{"rel": "self", "type": "application/activity+json", "href": actor}},
	})
}

// ParseAccount splits an account like alice@a.example, with or without "acct:" or "@" before it.
func ParseAccount(s string) (name, host string, err error) {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "acct:"), "@")
	name, host, ok := strings.Cut(s, "@")
	if origin, err := Origin("https://" + host); !ok || !ValidName(name) || err != nil || Host(origin) != host {
		return "", "", fmt.Errorf("federation: %.100q is not an account like alice@a.example", s)
	}
	return name, host, nil
}

// ValidName says whether a local name can be had: lower-case letters, digits, underscore; at most 30.
func ValidName(name string) bool {
	if name == "" || len(name) > 30 {
		return false
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}
