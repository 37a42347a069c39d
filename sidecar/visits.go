package sidecar

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/waxwing-dm/waxwing/federation/httpsig"
	"github.com/waxwing-dm/waxwing/internal/problem"
)

// This file is what keeps bad calls of other servers cheap (I0 and I5 of spec/wire.md). Whom a refusal is counted against depends on what is
// known: who has signed, once the signature holds, and before that the address. What a call only says of itself is counted against nobody, or
// anybody could use up another's budget; it is enough for being turned away before more is looked at, when the one it names has nothing left.
// The connection stays open: to answer costs less than to be dialled again, and behind a proxy it carries others' calls, too.

// A visit is what is known of who makes a call.
type visit struct {
	from     string // the neighbourhood it comes from; "" if that is not known
	claims   string // the origin of the key that it says it is signed with
	signer   string // the origin of who has signed it; "" before that is known
	paid     bool   // out of the signer's budget
	computes bool   // has one of the turns
}

type visitKey struct{}

// fromServers is around the calls that other servers sign.
func (s *Sidecar) fromServers(h handler) handler {
	h = s.forStrangers(h)
	return func(w http.ResponseWriter, r *http.Request) error {
		v := &visit{from: s.callerOf(r)}
		if err := s.limit.admit(v, r.Header, s.now()); err != nil {
			return err
		}
		defer s.computed(v)
		if err := h(w, r.WithContext(context.WithValue(r.Context(), visitKey{}, v))); err != nil {
			p := s.problemFor(err)
			s.limit.refused(v, p, s.now())
			return p
		}
		return nil
	}
}

// admit notes what a call claims, and answers 429 to whom nothing is left.
func (b budgets) admit(v *visit, h http.Header, now time.Time) error {
	if v.from != "" {
		if err := b.addresses.look(v.from, now); err != nil {
			return err
		}
	}
	actor, _, _ := strings.Cut(httpsig.Claimed(h), "#")
	if actor == "" {
		return nil
	}
	v.claims = originOf(actor)
	if err := b.instances.look(v.claims, now); err != nil {
		return err
	}
	return b.actors.look(actor, now)
}

// refused counts a refusal. Our own troubles are nobody's, but that a key cannot be had is; and to lose a race at a hub is no fault.
func (b budgets) refused(v *visit, p *problem.Problem, now time.Time) {
	switch {
	case p.Status >= 500 && p.Code != "key_unavailable", p.Status == http.StatusConflict, v.paid:
	case v.signer != "":
		_ = b.instances.take(v.signer, 1, now) // it is being refused already
	case v.from != "":
		_ = b.addresses.take(v.from, 1, now)
	}
}

// signedBy notes whose signature has been verified.
func (s *Sidecar) signedBy(ctx context.Context, owner string) {
	if v, ok := ctx.Value(visitKey{}).(*visit); ok {
		v.signer = originOf(owner)
		s.computed(v)
	}
}

// spend takes an activity out of the budget of the instance that has signed it, which it is for, right or wrong.
func (s *Sidecar) spend(ctx context.Context, owner string) error {
	s.signedBy(ctx, owner)
	if v, ok := ctx.Value(visitKey{}).(*visit); ok {
		v.paid = true
	}
	return s.limit.instances.take(originOf(owner), 1, s.now())
}

// callerOf is the neighbourhood that a call comes from: that of the connection, or if that is not a public one, what the proxy says if it is
// asked to. Anybody can write in a header, but before the last comma only.
func (s *Sidecar) callerOf(r *http.Request) string {
	from := neighbourhood(r.RemoteAddr)
	if said := r.Header[s.behind]; !from.IsValid() && len(said) > 0 {
		from = around(lastAddress(said[len(said)-1]))
	}
	if !from.IsValid() {
		return ""
	}
	return from.String()
}

// lastAddress reads what proxies write: addresses with commas between them, some with a port, some of IPv6 in brackets.
func lastAddress(said string) netip.Addr {
	last := strings.TrimSpace(said[strings.LastIndexByte(said, ',')+1:])
	if at, err := netip.ParseAddrPort(last); err == nil {
		return at.Addr()
	}
	a, _ := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(last, "["), "]"))
	return a
}
