package hub

import (
	"crypto/sha256"
	"slices"

	"github.com/waxwing-dm/waxwing/internal/receipt"
)

// State of a register.
type State struct {
	Term, Seq, Epoch uint64
	Base             uint64 // seq of the term's first receipt
	Head             [32]byte
	Ticket           [32]byte  // of the current epoch
	Others           [3]Branch // that go on beside the newest, because of disputes; those with a zero ticket are none
	Moved            [32]byte  // SHA-256 of the body that says so; zero if the conversation is here
}

// A Branch is an epoch that may be the group's: only members know which is.
type Branch struct {
	Epoch  uint64
	Ticket [32]byte
}

func (s State) branches() []Branch {
	all := []Branch{{s.Epoch, s.Ticket}}
	for _, b := range s.Others {
		if b.Ticket != ([32]byte{}) {
			all = append(all, b)
		}
	}
	return all
}

// newest is the greatest epoch of all branches.
func (s State) newest() (epoch uint64) {
	for _, b := range s.branches() {
		epoch = max(epoch, b.Epoch)
	}
	return epoch
}

func (s State) withBranches(all []Branch) State {
	s.Epoch, s.Ticket, s.Others = all[0].Epoch, all[0].Ticket, [3]Branch{}
	copy(s.Others[:], all[1:])
	return s
}

// find the branch of an epoch that a ticket signature is for.
func (s State) find(epoch uint64, verify func(ticket [32]byte) bool) (from Branch, ok bool) {
	for _, b := range s.branches() {
		if b.Epoch == epoch && verify(b.Ticket) {
			return b, true
		}
	}
	return Branch{}, false
}

// follow is the state after a receipt in its chain. from is the branch that a commit goes on from. The branches that were opened the longest time
// ago and have no place any more are set aside. It is not ok if a hub of this kind does not sign such receipts.
func (s State) follow(r receipt.Receipt, raw, body []byte, from Branch) (next State, aside []Branch, ok bool) {
	all := s.branches()
	opened := Branch{r.Epoch, r.Ticket}
	switch r.Kind {
	case receipt.KindCommit, receipt.KindMove:
		opened.Epoch++
		all = slices.DeleteFunc(all, func(b Branch) bool { return b == from })
	case receipt.KindReopen:
		if s.Moved != ([32]byte{}) {
			all = all[1:] // whoever believes the move has gone with it
		}
	default:
		return s, nil, false
	}
	all = append([]Branch{opened}, all...)
	if most := 1 + len(s.Others); len(all) > most {
		all, aside = all[:most], all[most:]
	}
	next = s.withBranches(all)
	next.Seq, next.Head, next.Moved = r.Seq, receipt.Head(raw), [32]byte{}
	if r.Kind == receipt.KindMove {
		next.Moved = sha256.Sum256(body)
	}
	return next, aside, true
}
