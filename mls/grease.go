package mls

import (
	"fmt"
	"io"
	"slices"
)

// GREASE (section 13.5): values that mean nothing, put where unknown ones are to be ignored, so that who does not ignore them is
// found out before a new value meets it. On the way in nothing here knows them: they are unknown, like any other.

// greased are the values of one leaf, chosen anew for each.
type greased struct {
	values [4]uint16
	data   []byte
}

func newGrease(rand io.Reader) (greased, error) {
	var random [12]byte
	if _, err := io.ReadFull(rand, random[:]); err != nil {
		return greased{}, fmt.Errorf("mls: reading randomness: %w", err)
	}
	var g greased
	for i := range g.values {
		g.values[i] = 0x0a0a + 0x1010*uint16(random[i]%15)
	}
	g.data = random[4:][:random[4]%8]
	return g, nil
}

// capabilities with a value in each list that is longer than it was by it.
func (g greased) capabilities(c Capabilities) Capabilities {
	c.CipherSuites = append(slices.Clone(c.CipherSuites), CipherSuite(g.values[0]))
	c.Extensions = append(slices.Clone(c.Extensions), ExtensionType(g.values[1]))
	c.Proposals = append(slices.Clone(c.Proposals), ProposalType(g.values[2]))
	c.Credentials = append(slices.Clone(c.Credentials), CredentialType(g.values[3]))
	return c
}

// extensions with one of the type that the capabilities list.
func (g greased) extensions(list []Extension) []Extension {
	return append(slices.Clone(list), Extension{ExtensionType(g.values[1]), g.data})
}
