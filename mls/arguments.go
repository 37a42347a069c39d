package mls

import (
	"fmt"
	"io"
	"slices"
)

// What a caller hands in is looked at before anything is done with it: a mistake is an error with ErrArgument, not a panic and not a
// message that nobody can read.

func argument(what string) error { return fmt.Errorf("mls: %s: %w", what, ErrArgument) }

// fillRandom reads randomness to the end of b.
func fillRandom(rand io.Reader, b []byte) error {
	if rand == nil {
		return argument("no source of randomness")
	}
	if _, err := io.ReadFull(rand, b); err != nil {
		return fmt.Errorf("mls: reading randomness: %w", err)
	}
	return nil
}

// checkSigner: a key that the suite signs with.
func (s *suite) checkSigner(k *SignatureKey) error {
	if k == nil || k.scheme != s.sig {
		return argument("no signature key of suite " + s.id.String())
	}
	return nil
}

// checkSet: a proposal of the caller's, who can name a type and leave out what belongs to it.
func (p *Proposal) checkSet() error {
	unset := false
	switch p.Type {
	case ProposalAdd:
		unset = p.addition == nil
	case ProposalUpdate:
		unset = p.update == nil
	case ProposalPreSharedKey:
		unset = p.psk == nil
	case ProposalReInit:
		unset = p.reInit == nil
	}
	if unset {
		return argument(fmt.Sprintf("a proposal of type %d without its content", p.Type))
	}
	return nil
}

func checkSet(list []Proposal) error {
	for i := range list {
		if err := list[i].checkSet(); err != nil {
			return err
		}
	}
	return nil
}

// cloneExtensions keeps what is ours apart from what the caller has.
func cloneExtensions(list []Extension) []Extension {
	list = slices.Clone(list)
	for i := range list {
		list[i].Data = slices.Clone(list[i].Data)
	}
	return list
}
