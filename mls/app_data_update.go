package mls

import (
	"bytes"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// AppDataUpdate and AppEphemeral of draft-ietf-mls-extensions. What an update does to a component's data only the application knows:
// it computes the new data where a commit is made, and again wherever it is processed. Neither proposal asks for a path, and both
// may come from outside. All members have to list their types.

// AppDataUpdates is the application's rule for the data that its components keep in a group. It gets the data there is (nil if there
// is none) and the updates of one commit in their order, and returns the new data; an error refuses the commit. The data goes if
// updates is nil: then what is returned is not looked at. It is called more often than commits happen, for commits that come to
// nothing as well, and has to depend on nothing but its arguments: members who compute different data part ways.
type AppDataUpdates func(component ComponentID, old []byte, updates [][]byte) (data []byte, err error)

// UseAppData sets the rule. Without one every update is refused. It is not part of the marshalled state.
func (g *Group) UseAppData(rule AppDataUpdates) { g.appData = rule }

// UseAppData sets the rule by which the observer follows updates; without one it cannot follow a commit that has any.
func (o *Observer) UseAppData(rule AppDataUpdates) { o.g.appData = rule }

// AppDataUpdateProposal changes what a component keeps in the group; the component knows how to read it.
func AppDataUpdateProposal(component ComponentID, update []byte) Proposal {
	return Proposal{Type: ProposalAppDataUpdate, component: component, data: append([]byte{}, update...)}
}

// AppDataRemoveProposal removes what a component keeps in the group.
func AppDataRemoveProposal(component ComponentID) Proposal {
	return Proposal{Type: ProposalAppDataUpdate, component: component}
}

// AppEphemeralProposal binds data of a component to a commit, and changes nothing. Whether it is to be accepted is for the
// application to decide before it applies the commit.
func AppEphemeralProposal(component ComponentID, data []byte) Proposal {
	return Proposal{Type: ProposalAppEphemeral, component: component, data: append([]byte{}, data...)}
}

// readAppUpdate
//
//	struct {
//	    ComponentID component_id;
//	    AppDataUpdateOperation op;
//	    select (AppDataUpdate.op) {
//	        case update: opaque update<V>;
//	        case remove: struct{};
//	    };
//	} AppDataUpdate;
func (p *Proposal) readAppUpdate(s *cryptobyte.String) bool {
	var op uint8
	if !s.ReadUint16((*uint16)(&p.component)) || !s.ReadUint8(&op) {
		return false
	}
	return op == 2 || op == 1 && readOpaque(s, &p.data)
}

func (p *Proposal) addAppUpdate(b *cryptobyte.Builder) {
	b.AddUint16(uint16(p.component))
	if p.data == nil {
		b.AddUint8(2)
		return
	}
	b.AddUint8(1)
	addOpaque(b, p.data)
}

// An appChange is all that one commit does to one component.
type appChange struct {
	component ComponentID
	removals  int
	updates   [][]byte
}

func appChanges(list []storedProposal) []*appChange {
	var changes []*appChange
	for i := range list {
		p := &list[i].proposal
		if p.Type != ProposalAppDataUpdate {
			continue
		}
		at := slices.IndexFunc(changes, func(c *appChange) bool { return c.component == p.component })
		if at < 0 {
			at = len(changes)
			changes = append(changes, &appChange{component: p.component})
		}
		if p.data == nil {
			changes[at].removals++
		} else {
			changes[at].updates = append(changes[at].updates, p.data)
		}
	}
	return changes
}

// applyAppData comes after all other proposals have been applied.
func (g *Group) applyAppData(c *change, list []storedProposal) error {
	changes := appChanges(list)
	replaced := slices.ContainsFunc(list, func(p storedProposal) bool { return p.proposal.Type == ProposalGroupContextExtensions })
	if replaced {
		if err := g.checkReplaced(c.extensions, len(changes) > 0); err != nil {
			return err
		}
	}
	if len(changes) > 0 {
		d := AppData{}
		if data, ok := findExtension(c.extensions, ExtensionAppDataDictionary); ok {
			var err error
			if d, err = ParseAppData(data); err != nil {
				return err
			}
		}
		for _, x := range changes {
			if err := x.apply(d, g.appData); err != nil {
				return err
			}
		}
		if len(d) > maxComponents {
			return invalid("app data of more than %d components", maxComponents)
		}
		c.extensions = withAppData(c.extensions, d)
	}
	if replaced || len(changes) > 0 {
		return checkGroupData(c.extensions)
	}
	return nil
}

func (x *appChange) apply(d AppData, rule AppDataUpdates) error {
	old, has := d[x.component]
	switch {
	case x.removals > 1 || x.removals == 1 && len(x.updates) > 0:
		return invalid("component %d is removed beside another change of it (AppDataUpdate)", x.component)
	case x.removals == 1 && !has:
		return invalid("component %d is removed and has no data (AppDataUpdate)", x.component)
	case rule == nil:
		return invalid("component %d is changed and not known here (AppDataUpdate)", x.component)
	}
	data, err := rule(x.component, bytes.Clone(old), x.updates)
	if err != nil {
		return invalid("change of component %d that the application refuses (AppDataUpdate): %v", x.component, err)
	}
	if x.removals == 1 {
		delete(d, x.component)
	} else {
		d[x.component] = bytes.Clone(data)
	}
	return nil
}

// checkReplaced keeps a change of all extensions from going around the application's rules: it leaves app data alone in a group that
// requires AppDataUpdate, whatever else is in the commit, and in a commit that has such updates.
func (g *Group) checkReplaced(extensions []Extension, updated bool) error {
	was, had := findExtension(g.context.extensions, ExtensionAppDataDictionary)
	is, has := findExtension(extensions, ExtensionAppDataDictionary)
	if had == has && bytes.Equal(was, is) {
		return nil
	}
	req, err := required(g.context.extensions)
	if err != nil {
		return err
	}
	if updated || slices.Contains(req.proposals, ProposalAppDataUpdate) {
		return invalid("change of the group's extensions that changes app data (AppDataUpdate)")
	}
	return nil
}

// withAppData puts the dictionary in its place, or at the end if there is none.
func withAppData(extensions []Extension, d AppData) []Extension {
	changed := slices.Clone(extensions)
	at := slices.IndexFunc(changed, func(e Extension) bool { return e.Type == ExtensionAppDataDictionary })
	if at < 0 {
		return append(changed, d.Extension())
	}
	changed[at] = d.Extension()
	return changed
}
