package localapi

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
)

// TestCodesAreWrittenDown keeps the page that programs are written against and the code together.
func TestCodesAreWrittenDown(t *testing.T) {
	page, err := os.ReadFile("../../spec/local-api.md")
	require.NoError(t, err)
	codes := []string{
		"host_refused", "origin_refused", "token_in_url", "token_required", "unsupported_media_type", "not_found", "method_not_allowed",
		"not_visible",
		"recipient_not_ready", "keys_reset", "plain_only", device.CodeBegunAnew, "not_witnessed", "not_allowed", "login_refused", "login_required", "internal", "request_invalid", "timeout", "not_acceptable",
	}
	for _, a := range answers {
		require.NotEmpty(t, a.help, a.code)
		codes = append(codes, a.code)
	}
	for _, e := range []device.EventType{
		device.EventMessageReceived, device.EventMessageState, device.EventMessageWaiting, device.EventMessageRefused, device.EventMessageRecovered, device.EventConversationCreated,
		device.EventConversationUpdated, device.EventConversationPaused, device.EventMemberAdded, device.EventMemberRemoved, device.EventMemberFailed,
		device.EventContactReset, device.EventContactPlain, device.EventContactWaiting, device.EventKeyPackagesRefused, device.EventAccountAlarm,
		device.EventLogDiffers, device.EventLogUnproven, device.EventLogProven, device.EventLogSplit, device.EventHubSplit,
		device.EventMemberUnlisted, device.EventRequestReceived, device.EventDeviceRemoved, device.EventDeliveryFailed,
	} {
		codes = append(codes, string(e))
	}
	codes = append(codes,
		device.CodeWaitingKey, device.CodeCannotDecrypt, device.CodeRejectedForged, device.CodeNotInLog, device.CodeForkDetected, device.CodeCommitInvalid,
		device.CodeListStarted, device.CodeListChanged, device.CodeListReset, device.CodeDeviceRevoked, device.CodeAccountMoved, device.CodeListErased,
		device.CodeLogBroken, device.CodeLogUnwatched)
	for _, c := range codes {
		require.Contains(t, string(page), "`"+c+"`")
	}
}
