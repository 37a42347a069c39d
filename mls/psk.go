package mls

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// Section 8.4: pre-shared keys.

// ResumptionUsage says what a secret of an earlier epoch is used for.
type ResumptionUsage uint8

const (
	ResumptionApplication ResumptionUsage = 1
	ResumptionReInit      ResumptionUsage = 2
	ResumptionBranch      ResumptionUsage = 3
)

// PSK names a pre-shared key: an external one by its id, or the resumption secret of an epoch of a group.
type PSK struct {
	ID        []byte      // external; nil for resumption
	Component ComponentID // whose external key it is, of draft-ietf-mls-extensions; 0: nobody's
	Usage     ResumptionUsage
	GroupID   []byte
	Epoch     uint64
}

// PSKs finds the secret of a pre-shared key. A group knows the resumption secrets of its own recent epochs itself.
type PSKs func(PSK) (secret []byte, ok bool)

// preSharedKeyID of section 8.4.
//
//	struct {
//	    PSKType psktype;
//	    select (PreSharedKeyID.psktype) {
//	        case external:   opaque psk_id<V>;
//	        case resumption: ResumptionPSKUsage usage; opaque psk_group_id<V>; uint64 psk_epoch;
//	        case application: ComponentID component_id; opaque psk_id<V>;
//	    };
//	    opaque psk_nonce<V>;
//	} PreSharedKeyID;
type preSharedKeyID struct {
	PSK
	external bool
	nonce    []byte
}

func (p *preSharedKeyID) read(s *cryptobyte.String) bool {
	var kind uint8
	if !s.ReadUint8(&kind) {
		return false
	}
	switch kind {
	case 1:
		p.external = true
		return readOpaque(s, &p.ID) && readOpaque(s, &p.nonce)
	case 2:
		return s.ReadUint8((*uint8)(&p.Usage)) && p.Usage >= ResumptionApplication && p.Usage <= ResumptionBranch &&
			readOpaque(s, &p.GroupID) && s.ReadUint64(&p.Epoch) && readOpaque(s, &p.nonce)
	case 3: // component 0 is reserved
		p.external = true
		return s.ReadUint16((*uint16)(&p.Component)) && p.Component != 0 && readOpaque(s, &p.ID) && readOpaque(s, &p.nonce)
	}
	return false
}

func (p *preSharedKeyID) add(b *cryptobyte.Builder) {
	switch {
	case p.external && p.Component != 0:
		b.AddUint8(3)
		b.AddUint16(uint16(p.Component))
		addOpaque(b, p.ID)
	case p.external:
		b.AddUint8(1)
		addOpaque(b, p.ID)
	default:
		b.AddUint8(2)
		b.AddUint8(uint8(p.Usage))
		addOpaque(b, p.GroupID)
		b.AddUint64(p.Epoch)
	}
	addOpaque(b, p.nonce)
}

// PSKProposal brings a pre-shared key into the next epoch's secrets: one that ID names, or the resumption secret of an epoch.
func (g *Group) PSKProposal(rand io.Reader, k PSK) (Proposal, error) {
	if g.suite == nil {
		return Proposal{}, argument("an empty group")
	}
	return PSKProposal(rand, g.suite.id, k)
}

// PSKProposal is Group.PSKProposal for who is outside the group: who joins by an external commit, an external sender.
func PSKProposal(rand io.Reader, cs CipherSuite, k PSK) (Proposal, error) {
	s, err := cs.suite()
	if err != nil {
		return Proposal{}, err
	}
	nonce, err := s.randomSecret(rand)
	if err != nil {
		return Proposal{}, err
	}
	return Proposal{Type: ProposalPreSharedKey, psk: &preSharedKeyID{PSK: k, external: k.ID != nil || k.Component != 0, nonce: nonce}}, nil
}

// UsePSKs tells the group where external secrets are found. It is not part of the marshalled state.
func (g *Group) UsePSKs(find PSKs) { g.psks = find }

// A resumption secret of an epoch that is over.
type resumption struct {
	epoch  uint64
	secret []byte
}

// checkPSK holds 12.1.4 and, for seen, 12.2. Only the first commit of a group that comes from another one may have a resumption
// secret of that usage.
func (s *suite) checkPSK(p *preSharedKeyID, seen map[string]bool, resumes ResumptionUsage) error {
	switch {
	case len(p.nonce) != s.nh:
		return invalid("pre-shared key with a nonce of %d bytes (12.1.4)", len(p.nonce))
	case !p.external && p.Usage != ResumptionApplication && p.Usage != resumes:
		return invalid("pre-shared key of a branch or a re-initialization in a proposal (12.1.4)")
	}
	if key := string(marshal(p)); !seen[key] {
		seen[key] = true
		return nil
	}
	return invalid("a pre-shared key stands twice in a commit (12.2)")
}

// find the secret for an id, in the group's own past or outside.
func (g *Group) findPSK(p *preSharedKeyID) ([]byte, bool) {
	if !p.external && bytes.Equal(p.GroupID, g.context.groupID) {
		if p.Epoch == g.context.epoch {
			return g.secrets.resumption, true
		}
		i := slices.IndexFunc(g.resumptions, func(r resumption) bool { return r.epoch == p.Epoch })
		if i >= 0 {
			return g.resumptions[i].secret, true
		}
	}
	if g.psks == nil {
		return nil, false
	}
	return g.psks(p.PSK)
}

// pskSecret folds the keys of a commit or Welcome into one, in their order.
func (s *suite) pskSecret(ids []preSharedKeyID, find func(*preSharedKeyID) ([]byte, bool)) ([]byte, error) {
	secret := make([]byte, s.nh)
	for i := range ids {
		psk, ok := find(&ids[i])
		if !ok {
			return nil, fmt.Errorf("mls: pre-shared key %d of %d: %w", i+1, len(ids), ErrUnknownPSK)
		}
		label := build(func(b *cryptobyte.Builder) {
			ids[i].add(b)
			b.AddUint16(uint16(i))
			b.AddUint16(uint16(len(ids)))
		})
		input := s.expandWithLabel(s.extract(make([]byte, s.nh), psk), "derived psk", label, s.nh)
		secret = s.extract(input, secret)
	}
	return secret, nil
}
