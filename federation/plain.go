package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/strictjson"
)

// What is asked of a server for the key packages of one of its actors.
const (
	maxPlainPackages = 32
	maxPlainAsked    = 20 // documents, the actor's not among them
	maxPlainPackage  = 64 << 10
)

// PlainPackage is a key package that a server of the plain draft shows. Nothing but that server says that it is the actor's.
type PlainPackage struct {
	ID        string // may be empty
	Generator string // id or else name of the program that made it; may be empty
	Content   []byte // raw, or framed as an MLSMessage
}

// PlainPackages looks for what the actor's keyPackages collection has, in any of the spellings that are in use. It is for actors whose
// instance has no discovery document: of others it says so (409 has_directory), since their packages are claimed and their keys proven.
func (r *Remote) PlainPackages(ctx context.Context, actor string) ([]PlainPackage, error) {
	if err := r.isPlain(ctx, actor); err != nil {
		return nil, err
	}
	doc, err := r.plainDocument(ctx, actor)
	if err != nil {
		return nil, err
	}
	raw := pick(doc, "keyPackages")
	if _, err := parseMember(doc, actor); err != nil || raw == nil {
		return nil, problem.New(http.StatusNotFound, "no_key_packages", "the actor has no key packages")
	}
	w := walk{remote: r, actor: actor, seen: map[string]bool{actor: true}}
	if w.origin, err = Origin(actor); err != nil {
		return nil, err
	}
	w.value(ctx, raw, 0)
	if len(w.found) == 0 && w.failed != nil {
		return nil, w.failed
	}
	return w.found, nil
}

// isPlain is an error unless the actor's instance is known to have no discovery document.
func (r *Remote) isPlain(ctx context.Context, actor string) error {
	_, err := r.discoveryOf(ctx, actor)
	var p *problem.Problem
	switch {
	case err == nil:
		return problem.New(http.StatusConflict, "has_directory", "the actor's instance has a directory of keys; claim there")
	case errors.As(err, &p) && (p.Status == http.StatusNotFound || p.Status == http.StatusGone):
		return nil // anything else may be a directory that is out of order, which must not make its people look as if they had none
	}
	return err
}

// parseMember checks that a document is about itself.
func parseMember(doc map[string]json.RawMessage, u string) (string, error) {
	var id string
	if !read(doc, &id, "id") || id != u {
		return "", fmt.Errorf("federation: reading %.200q: it has another id: %w", u, errActor)
	}
	return id, nil
}

func (r *Remote) plainDocument(ctx context.Context, u string) (doc map[string]json.RawMessage, err error) {
	res, err := r.ask(ctx, r.service, http.MethodGet, u, nil, acceptType, maxAnswer)
	if err != nil {
		return nil, err
	}
	if !isActivityStreams(res.Header) {
		return nil, fmt.Errorf("federation: reading %.200q: not served as %s: %w", u, ContentType, errActor)
	}
	if err := strictjson.Unmarshal(res.Body, &doc); err != nil {
		return nil, fmt.Errorf("federation: reading %.200q: %w: %w", u, errActor, err)
	}
	return doc, nil
}

// A walk goes through collections, pages and items, within bounds, and never leaves the actor's origin.
type walk struct {
	remote        *Remote
	actor, origin string
	asked         int
	seen          map[string]bool
	found         []PlainPackage
	failed        error // the last thing that could not be had
}

const maxNesting = 6

// value is a URL, an object, or an array of them.
func (w *walk) value(ctx context.Context, raw json.RawMessage, depth int) {
	if depth > maxNesting || len(w.found) >= maxPlainPackages {
		return
	}
	var u string
	var many []json.RawMessage
	var object map[string]json.RawMessage
	switch {
	case json.Unmarshal(raw, &u) == nil:
		w.follow(ctx, u, depth)
	case json.Unmarshal(raw, &many) == nil:
		for _, one := range many {
			w.value(ctx, one, depth+1)
		}
	case json.Unmarshal(raw, &object) == nil:
		w.object(ctx, object, depth)
	}
}

func (w *walk) follow(ctx context.Context, u string, depth int) {
	if w.seen[u] || w.asked >= maxPlainAsked || !on(w.origin, u) {
		return
	}
	w.seen[u] = true
	w.asked++
	doc, err := w.remote.plainDocument(ctx, u)
	if err != nil {
		w.failed = err
		return
	}
	if _, err := parseMember(doc, u); err != nil {
		w.failed = err
		return
	}
	w.object(ctx, doc, depth+1)
}

func (w *walk) object(ctx context.Context, object map[string]json.RawMessage, depth int) {
	if pick(object, "content") != nil {
		w.keep(object)
		return
	}
	inside := false
	for _, name := range []string{"items", "orderedItems", "first", "next"} {
		if raw := pick(object, name); raw != nil {
			inside = true
			if name == "next" { // a page beside, not below
				w.value(ctx, raw, depth)
			} else {
				w.value(ctx, raw, depth+1)
			}
		}
	}
	var id string
	if !inside && read(object, &id, "id") {
		w.follow(ctx, id, depth)
	}
}

// keep takes what is a key package of this actor.
func (w *walk) keep(object map[string]json.RawMessage) {
	var mediaType, encoding, content string
	read(object, &mediaType, spellings("mediaType")...)
	read(object, &encoding, spellings("encoding")...)
	read(object, &content, spellings("content")...)
	var owners stringList
	owned := !read(object, &owners, spellings("attributedTo")...) || slices.Contains(owners, w.actor)
	if mediaType != mlsMediaType || encoding != "base64" && encoding != "" || !owned || len(w.found) >= maxPlainPackages {
		return
	}
	p := PlainPackage{Content: decode(content)}
	if len(p.Content) == 0 || len(p.Content) > maxPlainPackage {
		return
	}
	if read(object, &p.ID, "id"); !on(w.origin, p.ID) {
		p.ID = ""
	}
	p.Generator = readGenerator(pick(object, "generator"))
	w.found = append(w.found, p)
}

// readGenerator takes a URL, or an object's id or name.
func readGenerator(raw json.RawMessage) string {
	var name string
	if raw == nil || json.Unmarshal(raw, &name) == nil {
		return strings.ToValidUTF8(name[:min(len(name), 200)], "")
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) == nil {
		read(object, &name, "id", "name")
	}
	return strings.ToValidUTF8(name[:min(len(name), 200)], "")
}

func pick(object map[string]json.RawMessage, name string) json.RawMessage {
	for _, spelling := range spellings(name) {
		if raw, ok := object[spelling]; ok && string(raw) != "null" {
			return raw
		}
	}
	return nil
}
