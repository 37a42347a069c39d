package sidecar

import (
	"net/http"

	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// revoke is the public POST of a revocation (V1 to V4 of spec/log-entry.md). Who holds a device's key may take that device off the list, from
// anywhere and without a token: the machine with the token may be the one that was stolen.
func (s *Sidecar) revoke(w http.ResponseWriter, r *http.Request) error {
	var in clientapi.Revocation
	if _, err := readJSON(w, r, maxSmall, &in); err != nil {
		return err
	}
	if !s.isNamed(in.Actor) {
		return problem.New(http.StatusNotFound, "no_such_label", "the actor is not of this instance")
	}
	statement, state, err := openPublication(in.Actor, in.Publication)
	if err != nil {
		return err
	}
	if statement.Kind != transparency.KindRevoke {
		return transparency.Failed("L4", "only a revocation is taken here")
	}
	// Counted after the signature has held, and for each device: nobody else can use up what its owner needs.
	if err := s.limit.claims.take("revoke "+in.Actor+" "+keydir.DeviceID(statement.AuthKey[:]), 1, s.now()); err != nil {
		return err
	}
	sub := sequencer.Submission{Actor: in.Actor, Statement: in.Statement, Opening: [32]byte(in.Opening), Content: in.Content}
	index, err := s.log.Append(r.Context(), sub)
	if err == nil {
		err = s.listed(r.Context(), in.Actor, state.List)
	}
	return s.published(w, r, index, err)
}

// openPublication reads a statement with its content, and holds what they show by themselves.
func openPublication(actor string, p clientapi.Publication) (transparency.Statement, keydir.State, error) {
	if len(p.Opening) != 32 {
		return transparency.Statement{}, keydir.State{}, transparency.Failed("L6", "an opening has 32 bytes")
	}
	statement, err := transparency.ParseStatement(p.Statement)
	if err != nil {
		return transparency.Statement{}, keydir.State{}, transparency.Failed("L6", "the statement cannot be read")
	}
	state, err := keydir.Open(actor, statement, [32]byte(p.Opening), p.Content)
	return statement, state, err
}
