package mls

// Safe AAD of draft-ietf-mls-extensions: in a group whose app data has ComponentSafeAAD, even with an empty list, the authenticated
// data of every message is an AppData and nothing else, so that components can put something there side by side.

// frameAAD is for messages of ours: nothing becomes no items.
func frameAAD(group []Extension, data []byte) ([]byte, error) {
	if _, framed := component(group, ComponentSafeAAD); !framed {
		return data, nil
	}
	if len(data) == 0 {
		return AppData{}.Marshal(), nil
	}
	return data, checkFramed(data)
}

// checkAAD is for messages of others. Who proposes from outside need not have seen the group's extensions: nothing is as good as no
// items from them.
func (c *framedContent) checkAAD(group []Extension) error {
	if _, framed := component(group, ComponentSafeAAD); !framed {
		return nil
	}
	if k := c.sender.kind; (k == senderExternal || k == senderNewMemberProposal) && len(c.authenticatedData) == 0 {
		return nil
	}
	return checkFramed(c.authenticatedData)
}

func checkFramed(data []byte) error {
	if !eachComponent(data, func(ComponentID, []byte) {}) {
		return invalid("authenticated data that is not framed by component (safe_aad)")
	}
	return nil
}
