package mls

import (
	"io"
	"slices"

	"golang.org/x/crypto/cryptobyte"
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
	if err := fillRandom(rand, random[:]); err != nil {
		return greased{}, err
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

// extensions with one of the type that the capabilities list, and app data with a component that is none.
func (g greased) extensions(list []Extension) []Extension {
	list = append(slices.Clone(list), Extension{ExtensionType(g.values[1]), g.data})
	g.appData(list, func(d AppData) { d[g.nobody()] = g.data })
	return list
}

// leafExtensions are extensions of a leaf, where the lists of components have one more as well.
func (g greased) leafExtensions(list []Extension) []Extension {
	list = g.extensions(list)
	g.appData(list, func(d AppData) {
		for _, id := range componentLists {
			var ids []ComponentID
			s := cryptobyte.String(d[id])
			if readNumbers(&s, &ids) && s.Empty() {
				d[id] = ComponentList(append(ids, g.nobody())...)
			}
		}
	})
	return list
}

// appData that is malformed stays as it is, to be refused where it is checked.
func (g greased) appData(list []Extension, change func(AppData)) {
	for i, e := range list {
		if e.Type != ExtensionAppDataDictionary {
			continue
		}
		if d, err := ParseAppData(e.Data); err == nil {
			change(d)
			list[i] = d.Extension()
		}
	}
}

// nobody is a component that is reserved for this.
func (g greased) nobody() ComponentID { return ComponentID(g.values[1] & 0x7f7f) }
