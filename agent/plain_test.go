package agent_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

// TestPlainPeerOverHTTP: two people of ours and one whose instance speaks the draft alone, with real servers between them.
func TestPlainPeerOverHTTP(t *testing.T) {
	w, _ := newServedWorld(t)
	e := w.plainServer()
	alice, bob := w.person("alice").login(), w.person("bob").login()
	actor, err := alice.Resolve(ctx, "@erin@e.test")
	require.NoError(t, err)
	require.Equal(t, erinActor, actor)
	c, err := alice.Contact(ctx, actor)
	require.NoError(t, err)
	require.Equal(t, device.ContactPlain, c.State)
	again, err := alice.Resolve(ctx, erinActor)
	require.NoError(t, err, "she is shown by her URL, and may be named by it")
	require.Equal(t, actor, again)
	var only *device.PlainOnlyError
	_, err = alice.SendTo(ctx, []string{actor}, "hello", nil, "")
	require.ErrorAs(t, err, &only)

	m, err := alice.SendToPlain(ctx, []string{bob.actor(), actor}, "hello", nil, "")
	require.NoError(t, err)
	id := m.Conversation
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(alice.log.String(), bob.log.String(), e.with.errs, e.types)
			for _, p := range []*person{alice, bob} {
				list, _ := p.Events(0, 1000)
				for _, x := range list {
					t.Logf("%s %s %s %s %s", p.handle, x.Type, x.Actor, x.Code, x.Detail)
				}
			}
		}
	})
	bob.await("both have it", func() bool { return slices.Equal(bob.texts(id), []string{"hello"}) && len(e.read()) == 1 })
	require.Equal(t, "<p>hello</p>", e.read()[0])
	e.say("hello you two", alice.actor(), bob.actor())
	_, err = bob.Send(id, "and I", nil, "")
	require.NoError(t, err)
	alice.await("all is read", func() bool {
		return len(alice.texts(id)) == 3 && slices.Contains(bob.texts(id), "hello you two") && slices.Contains(e.read(), "<p>and I</p>")
	})
	for _, p := range []*person{alice, bob} {
		c, err := p.Conversation(id)
		require.NoError(t, err)
		require.True(t, c.Plain)
		require.Len(t, c.Members, 3)
	}
	e.mu.Lock()
	require.Equal(t, "Welcome", e.types[0], "the type is one word, as programs look for it")
	e.mu.Unlock()

	// She removes bob: a commit by another name.
	e.remove(bob.actor(), alice.actor(), bob.actor())
	alice.await("he is out", func() bool { c, err := alice.Conversation(id); return err == nil && len(c.Members) == 2 })
	bob.await("and knows it", func() bool { c, err := bob.Conversation(id); return err == nil && c.State == device.StateLeft })

	// Over a restart of the agent she invites alice anew, with other keys than before.
	alice.stop()
	e.invite(alice.actor())
	alice.start()
	alice.await("the invitation is there", func() bool { list, err := alice.Conversations(); return err == nil && len(list) == 2 })
	list, err := alice.Conversations()
	require.NoError(t, err)
	var reset *device.KeysResetError
	_, err = alice.Send(list[1].ID, "is it you", nil, "")
	require.ErrorAs(t, err, &reset)
	c, err = alice.Contact(ctx, actor)
	require.NoError(t, err)
	require.True(t, c.Changed)
	_, err = alice.AcceptKeys(actor, c.Resets)
	require.NoError(t, err)
	_, err = alice.Send(list[1].ID, "I asked you by telephone", nil, "")
	require.NoError(t, err)
	alice.await("it is read", func() bool { return slices.Contains(e.read(), "<p>I asked you by telephone</p>") })
	require.Empty(t, e.with.errs)
}

// TestDirectoryOutOfOrderIsNotPlain: an instance whose discovery document cannot be had has a directory as far as we know.
func TestDirectoryOutOfOrderIsNotPlain(t *testing.T) {
	w := newWorld(t)
	e := w.plainServer()
	e.gone = true
	alice := w.person("alice").login()
	_, err := alice.Contact(ctx, erinActor)
	require.Error(t, err)
	m, err := alice.SendToPlain(ctx, []string{erinActor}, "hello", nil, "")
	require.NoError(t, err)
	c, err := alice.Conversation(m.Conversation)
	require.NoError(t, err)
	require.False(t, c.Plain)
	require.Empty(t, e.read())
}
