package mls

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// The Safe Application Interface of draft-ietf-mls-extensions: the parts of an application, its components, each have data of their
// own in the group, in leaves, in key packages and beside Welcomes, without getting into each other's way.

// ComponentID names a component of an application. Those from 0x8000 on are for private use.
type ComponentID uint16

// The components that every client knows who knows app data: lists of components, in a leaf those that it supports and in a group
// those that all members must. The second is about authenticated data; where a group has it, see safe_aad.go.
const (
	ComponentAppComponents ComponentID = 1
	ComponentSafeAAD       ComponentID = 2
)

// ComponentList is what those two hold.
func ComponentList(ids ...ComponentID) []byte {
	return build(func(b *cryptobyte.Builder) { addNumbers(b, ids) })
}

// AppData is data by component: an app_data_dictionary, or the authenticated data of one message.
//
//	struct {
//	    ComponentID component_id;
//	    opaque data<V>;
//	} ComponentData;
//
//	struct {
//	    ComponentData component_data<V>;
//	} AppDataDictionary;
type AppData map[ComponentID][]byte

// Marshal gives the wire form, in the order of the components.
func (d AppData) Marshal() []byte {
	return build(func(b *cryptobyte.Builder) {
		addVector(b, func(b *cryptobyte.Builder) {
			for _, id := range slices.Sorted(maps.Keys(d)) {
				b.AddUint16(uint16(id))
				addOpaque(b, d[id])
			}
		})
	})
}

// Extension is the dictionary for a leaf, a key package, a new group, or a GroupInfo.
func (d AppData) Extension() Extension { return Extension{ExtensionAppDataDictionary, d.Marshal()} }

// ParseAppData reads the content of a dictionary extension, or of authenticated data that is framed by component.
func ParseAppData(data []byte) (AppData, error) {
	d := AppData{}
	if !eachComponent(data, func(id ComponentID, value []byte) { d[id] = bytes.Clone(value) }) {
		return nil, fmt.Errorf("mls: reading app data: %w", errSyntax)
	}
	return d, nil
}

// eachComponent walks through a dictionary and copies nothing. Components that are out of order or there twice make it malformed.
func eachComponent(data []byte, f func(ComponentID, []byte)) bool {
	s := cryptobyte.String(data)
	last := -1
	return readList(&s, maxComponents, func(s *cryptobyte.String) bool {
		var id uint16
		var value cryptobyte.String
		if !s.ReadUint16(&id) || !readVector(s, &value) || int(id) <= last {
			return false
		}
		last = int(id)
		f(ComponentID(id), value)
		return true
	}) && s.Empty()
}

// component finds the data of one in the dictionary of a list of extensions.
func component(extensions []Extension, id ComponentID) (data []byte, ok bool) {
	dictionary, has := findExtension(extensions, ExtensionAppDataDictionary)
	if !has {
		return nil, false
	}
	eachComponent(dictionary, func(x ComponentID, value []byte) {
		if x == id {
			data, ok = value, true
		}
	})
	return data, ok
}

// components reads one of the two lists; without one it is empty.
func components(extensions []Extension, id ComponentID) ([]ComponentID, error) {
	data, ok := component(extensions, id)
	if !ok {
		return nil, nil
	}
	var list []ComponentID
	s := cryptobyte.String(data)
	if !readNumbers(&s, &list) || !s.Empty() {
		return nil, invalid("list of components that is malformed (app_components, safe_aad)")
	}
	return list, nil
}

// checkAppData holds for the dictionary of anything that has extensions.
func checkAppData(extensions []Extension) error {
	data, ok := findExtension(extensions, ExtensionAppDataDictionary)
	if ok && !eachComponent(data, func(ComponentID, []byte) {}) {
		return invalid("app data that is malformed or not in the order of its components (app_data_dictionary)")
	}
	return nil
}

// componentLists are the components that mean the same in leaves and groups.
var componentLists = []ComponentID{ComponentAppComponents, ComponentSafeAAD}

// checkComponents is checkAppData for a leaf or a group.
func checkComponents(extensions []Extension) error {
	if err := checkAppData(extensions); err != nil {
		return err
	}
	for _, id := range componentLists {
		if _, err := components(extensions, id); err != nil {
			return err
		}
	}
	return nil
}

// checkGroupData is checkComponents for a group, whose data all members keep and all newcomers get.
func checkGroupData(extensions []Extension) error {
	if data, _ := findExtension(extensions, ExtensionAppDataDictionary); len(data) > maxAppData {
		return invalid("app data of a group of more than %d bytes", maxAppData)
	}
	return checkComponents(extensions)
}

// checkSupportsComponents: what the group lists the leaf lists, too.
func (l *LeafNode) checkSupportsComponents(group []Extension) error {
	for _, id := range componentLists {
		required, err := components(group, id)
		if err != nil {
			return err
		}
		own, err := components(l.Extensions, id)
		if err != nil {
			return err
		}
		for _, c := range required {
			if !slices.Contains(own, c) {
				return invalid("leaf lacks required component %d (app_components, safe_aad)", c)
			}
		}
	}
	return nil
}

// checkAdvertises is for leaves of our own: who supports app data has to say of which components. What others leave out is theirs.
func (l *LeafNode) checkAdvertises() error {
	if _, ok := component(l.Extensions, ComponentAppComponents); !ok && slices.Contains(l.Capabilities.Extensions, ExtensionAppDataDictionary) {
		return invalid("leaf supports app data and does not list its components (app_components)")
	}
	return nil
}

// sameDemands says whether two groups ask the same of their members. What components keep in a group is no demand.
func sameDemands(a, b []Extension) bool {
	return slices.EqualFunc(a, b, func(x, y Extension) bool {
		if x.Type != y.Type || x.Type != ExtensionAppDataDictionary {
			return x.Type == y.Type && bytes.Equal(x.Data, y.Data)
		}
		for _, id := range componentLists {
			was, had := component([]Extension{x}, id)
			is, has := component([]Extension{y}, id)
			if had != has || !bytes.Equal(was, is) {
				return false
			}
		}
		return true
	})
}

// AppData is what the components keep in the group.
func (g *Group) AppData() AppData {
	data, _ := findExtension(g.context.extensions, ExtensionAppDataDictionary)
	d, err := ParseAppData(data)
	if err != nil {
		return AppData{} // there is none: what is there has been checked
	}
	return d
}
