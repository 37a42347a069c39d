package device_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

// TestNewcomerOnABranchThatIsVoid: dave was added where the others have not followed, and they go on from before he came. He is told that they are
// elsewhere, and does not stay where nobody is; an admin adds him again.
func TestNewcomerOnABranchThatIsVoid(t *testing.T) {
	w, id := talk(t, bob, carol)
	a, b, c, d := w.people[alice], w.people[bob], w.people[carol], w.enrol(dave)
	require.NoError(t, a.SetAdmin(id, bob, true))
	require.NoError(t, a.SetAdmin(id, carol, true))
	require.NoError(t, a.NameHubs(id))
	w.quiet()
	require.NoError(t, a.AddMembers(id, []string{dave}))
	a.work()
	b.mail, c.mail = nil, nil // they do not have it
	d.read()
	d.work()
	require.Equal(t, device.StateActive, d.conversation(id).State)

	w.overtake()
	requireAgreement(t, id, a, b, c)
	require.Len(t, b.conversation(id).Members, 3)
	require.Equal(t, device.StatePaused, d.conversation(id).State)
	require.Contains(t, d.conversation(id).Reason, device.CodeOtherBranch)
	require.NotContains(t, d.codes(device.EventMessageRefused), device.CodeForkDetected, "the claim is right")

	require.NoError(t, a.AddMembers(id, []string{dave}))
	w.quiet()
	w.later()
	requireAgreement(t, id, a, b, c, d)
}
