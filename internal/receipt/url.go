package receipt

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
)

const conversations = "/waxwing/conversations/"

// ConversationURL is the hub's resource for a group.
func ConversationURL(instance string, groupID []byte) string {
	return instance + conversations + hex.EncodeToString(groupID)
}

// ParseConversationURL splits a conversation's URL into the hub's instance and the group id.
func ParseConversationURL(u string) (instance string, groupID []byte, err error) {
	instance, id, ok := strings.Cut(u, conversations)
	groupID, err = hex.DecodeString(id)
	if !ok || err != nil || len(groupID) == 0 || len(groupID) > MaxGroupID || ConversationURL(instance, groupID) != u || !isOrigin(instance) {
		return "", nil, fmt.Errorf("receipt: %.100q is not the URL of a conversation", u)
	}
	return instance, groupID, nil
}

// isOrigin: nothing but scheme and host, so that no path, query or user name stands before the conversation's path.
func isOrigin(instance string) bool {
	u, err := url.Parse(instance)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.Scheme+"://"+u.Host == instance
}
