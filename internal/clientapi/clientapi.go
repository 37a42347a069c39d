// Package clientapi is what an agent and its sidecar say to each other (spec/client-api.md): the bodies of the calls, used by
// both, and the agent's half of the conversation, [Client].
//
// The types are the JSON and nothing more. Sizes and meanings are checked by who acts on them.
package clientapi

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
)

// Limits of the interface.
const (
	MaxBody     = 4 << 20   // bytes of a JSON body
	MaxMessage  = 700 << 10 // bytes of one MLS message; in base64 it still fits the 1 MiB of an activity
	MaxBlob     = 32 << 20  // bytes
	MaxActors   = 1000      // in one list of recipients
	MaxItems    = 100       // of one mailbox answer
	MaxPackages = 100       // one-time key packages in one upload
	MaxWait     = 30        // seconds a mailbox answer is held
	MaxLogFile  = 64 << 10  // bytes of a log's checkpoint or tile
)

// Bytes are base64 in JSON, in the one spelling the specification allows.
type Bytes []byte

var errBase64 = errors.New("not base64 in its standard spelling")

// UnmarshalJSON refuses line breaks and stray bits, which encoding/json lets pass for []byte.
func (b *Bytes) UnmarshalJSON(data []byte) error {
	var text *string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	if text == nil {
		*b = nil
		return nil
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(*text)
	if err != nil || base64.StdEncoding.EncodeToString(raw) != *text {
		return errBase64
	}
	*b = raw
	return nil
}

// Login is the body of POST /devices.
type Login struct {
	Account      string `json:"account"` // local name
	Code         string `json:"code"`
	SignatureKey Bytes  `json:"signature_key"`
	Time         uint64 `json:"time"` // milliseconds
	Signature    Bytes  `json:"signature"`
}

// LoginMessage is what the device key signs to log in at a host.
func LoginMessage(host, account string, time uint64) []byte {
	b := append([]byte("waxwing login v1\x00"), host...)
	b = append(append(append(b, 0), account...), 0)
	return binary.BigEndian.AppendUint64(b, time)
}

// LoggedIn is the answer of POST /devices.
type LoggedIn struct {
	Token  string `json:"token"`
	Actor  string `json:"actor"`
	Handle string `json:"handle"`
	Device string `json:"device"`
}

// Account is the answer of GET /account.
type Account struct {
	Actor      string `json:"actor"`
	Handle     string `json:"handle"`
	Device     string `json:"device"`
	OneTime    int    `json:"one_time"`
	LastResort bool   `json:"last_resort"`
}

// Publication is the body of POST /directory.
type Publication struct {
	Statement Bytes `json:"statement"`
	Opening   Bytes `json:"opening"`
	Content   Bytes `json:"content"`
}

// Revocation is the body of POST <instance>/waxwing/log/revocations.
type Revocation struct {
	Actor string `json:"actor"`
	Publication
}

// Published is its answer. A lookup shows the statement once it is witnessed.
type Published struct {
	Index     int64  `json:"index"`
	Witnessed bool   `json:"witnessed"`
	Waiting   string `json:"waiting,omitempty"` // what for, for people to read
}

// maxLookup is the most bytes a lookup answer has.
const maxLookup = 64 << 10

// KeyPackages is the body of PUT /key-packages; without a last-resort package the one that is there stays.
type KeyPackages struct {
	OneTime    []Bytes `json:"one_time"`
	LastResort Bytes   `json:"last_resort,omitempty"`
}

// KeyPackagesKept is its answer.
type KeyPackagesKept struct {
	OneTime int `json:"one_time"`
}

// Claim is the body of POST /claims, and of the claim between sidecars.
type Claim struct {
	Actor string `json:"actor"`
	For   string `json:"for,omitempty"` // between sidecars: who wants to write to them
}

// Claimed is its answer.
type Claimed struct {
	Packages []ClaimedPackage `json:"packages"`
}

// ClaimedPackage is one device's.
type ClaimedPackage struct {
	Device     string `json:"device"`
	KeyPackage Bytes  `json:"key_package"` // raw
	LastResort bool   `json:"last_resort"`
}

// PlainClaimed is the answer to POST /plain-claims, whose body is a Claim.
type PlainClaimed struct {
	Packages []PlainPackage `json:"packages"`
}

// PlainPackage is a key package that an instance without a directory shows. That it is the actor's is that instance's word only.
type PlainPackage struct {
	ID         string `json:"id,omitempty"`        // URL
	Generator  string `json:"generator,omitempty"` // the program that made it
	KeyPackage Bytes  `json:"key_package"`         // raw
}

// What an account asks of who it has neither written to nor accepted.
const (
	FromEverybody = "everybody" // nothing
	FromRequests  = "requests"  // that they wait until they are accepted
	FromNobody    = "nobody"    // that they do not write
)

// Policy is the body of PUT /consents/policy, and a part of Consents.
type Policy struct {
	Policy string `json:"policy"`
}

// Consents is the answer of GET /consents.
type Consents struct {
	Policy
	Waiting []Request `json:"waiting"`
}

// Request is somebody who waits to be accepted.
type Request struct {
	Actor        string `json:"actor"`
	Conversation string `json:"conversation"` // URL, as they named it
	Since        uint64 `json:"since"`        // milliseconds
}

// What may be decided about somebody.
const (
	Accept  = "accept"
	Delete  = "delete" // what waits, and what comes after it for a month
	Block   = "block"
	Unblock = "unblock"
)

// Decision is the body of POST /consents.
type Decision struct {
	Actor        string `json:"actor,omitempty"`        // with accept it may be missing: then it is about the conversation alone
	Conversation string `json:"conversation,omitempty"` // with accept: the URL of the one that they opened
	Decision     string `json:"decision"`
}

// Open is the body of POST /conversations.
type Open struct {
	GroupID Bytes `json:"group_id"`
	Ticket  Bytes `json:"ticket"`
}

// Opened is its answer.
type Opened struct {
	Conversation string `json:"conversation"`
	Receipt      Bytes  `json:"receipt"`
}

// Commit is the body of POST /commits. Welcome is null if nobody is added.
type Commit struct {
	ID           string   `json:"id"`
	Conversation string   `json:"conversation"`
	Term         uint64   `json:"term"`
	Epoch        uint64   `json:"epoch"`
	Commit       Bytes    `json:"commit"`
	Ticket       Bytes    `json:"ticket"`
	Signature    Bytes    `json:"signature"`
	To           []string `json:"to"`
	Welcome      Bytes    `json:"welcome"`
	WelcomeTo    []string `json:"welcome_to"`
	Hub          string   `json:"hub,omitempty"` // origin of the present hub, if it is not the conversation's
	HubPart
}

// Submission is the body of a commit to a hub.
type Submission struct {
	Term      uint64 `json:"term"`
	Epoch     uint64 `json:"epoch"`
	Commit    Bytes  `json:"commit"`
	Ticket    Bytes  `json:"ticket"`
	Signature Bytes  `json:"signature"`
	HubPart
}

// HubPart is what else goes with a commit to the hub (spec/receipt.md).
type HubPart struct {
	Seq       *uint64 `json:"seq,omitempty"` // with Head, where the submitter stands
	Head      Bytes   `json:"head,omitempty"`
	Lease     *Lease  `json:"lease,omitempty"`
	GroupInfo Bytes   `json:"group_info,omitempty"` // sealed
	Move      *Move   `json:"move,omitempty"`
	Despite   Bytes   `json:"despite,omitempty"` // SHA-256 of a claim that the submitter found wrong
}

// Lease is the key of one, and its signature over the submission's.
type Lease struct {
	Key       Bytes `json:"key"`
	Signature Bytes `json:"signature"`
}

// Move names the next hub.
type Move struct {
	Hub       string `json:"hub"`
	Key       Bytes  `json:"key"`
	Signature Bytes  `json:"signature"`
}

// Committed is its answer.
type Committed struct {
	Receipt Bytes `json:"receipt"`
}

// Event is one granted commit.
type Event struct {
	Receipt Bytes `json:"receipt"`
	Commit  Bytes `json:"commit,omitempty"`
}

// Events is the answer of GET /events, and in part that of a refused commit.
type Events struct {
	Term   uint64  `json:"term"`
	Seq    uint64  `json:"seq"`
	Events []Event `json:"events"`
	Mirror bool    `json:"mirror,omitempty"` // from a mirror: the hub could not be asked
	Moved  *Moved  `json:"moved,omitempty"`
}

// Moved is where a hub says that a conversation went, and why: a move, or a term with its claim.
type Moved struct {
	Hub   string `json:"hub"`
	Event Event  `json:"event"`
}

// Hub is the answer of GET /hub: the key of an instance's receipts.
type Hub struct {
	Key Bytes `json:"key"`
}

// LeaseRequest is the body of POST /leases.
type LeaseRequest struct {
	Conversation string `json:"conversation"`
	Hub          string `json:"hub,omitempty"`
	LeaseCall
}

// LeaseCall is what the hub is asked.
type LeaseCall struct {
	Term      uint64 `json:"term"`
	Epoch     uint64 `json:"epoch"`
	Key       Bytes  `json:"key"`
	Signature Bytes  `json:"signature"`
}

// Leased is its answer, in milliseconds.
type Leased struct {
	Wait int64 `json:"wait"` // until it begins
	Runs int64 `json:"runs"` // from then on
}

// Dispute is the body of POST /disputes.
type Dispute struct {
	Conversation string `json:"conversation,omitempty"`
	Hub          string `json:"hub,omitempty"`
	Dispute      Bytes  `json:"dispute"`
}

// Disputed is its answer; Seq is that of the reopen.
type Disputed struct {
	Reopened bool   `json:"reopened"`
	Seq      uint64 `json:"seq,omitempty"`
}

// NewTerm is the body of POST /terms: the claim names the hub that is to open it.
type NewTerm struct {
	Conversation string  `json:"conversation"`
	Claim        Bytes   `json:"claim"`
	After        []Event `json:"after"` // the newest of the old chain
}

// GroupInfos is the answer of GET /group-info, newest first.
type GroupInfos struct {
	Groups []GroupInfo `json:"groups"`
}

// GroupInfo is what came with one commit, sealed.
type GroupInfo struct {
	Term      uint64 `json:"term"`
	Seq       uint64 `json:"seq"`
	Epoch     uint64 `json:"epoch"`
	GroupInfo Bytes  `json:"group_info"`
}

// Message is the body of POST /messages.
type Message struct {
	ID           string   `json:"id"`
	Conversation string   `json:"conversation"`
	Message      Bytes    `json:"message"`
	To           []string `json:"to"`
}

// Accepted is its answer.
type Accepted struct {
	ID string `json:"id"`
}

// Item of a mailbox.
type Item struct {
	Cursor       uint64 `json:"cursor"`
	Activity     string `json:"activity"`
	Actor        string `json:"actor"` // the sender
	Conversation string `json:"conversation"`
	Message      Bytes  `json:"message,omitempty"`
	Receipt      Bytes  `json:"receipt,omitempty"`
	Received     uint64 `json:"received"` // milliseconds
	// Undelivered instead of Message: what became of one that this device has sent.
	Undelivered *Undelivered `json:"undelivered,omitempty"`
}

// Undelivered says whom a message did not reach.
type Undelivered struct {
	Message Bytes    `json:"message"` // SHA-256 of the MLS message
	To      []Missed `json:"to"`
}

// Missed is one of them.
type Missed struct {
	Actor  string `json:"actor"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Mailbox is the answer of GET /mailbox; Next is what to ask after next.
type Mailbox struct {
	Items []Item `json:"items"`
	Next  uint64 `json:"next"`
}

// Blob is the answer of PUT /blobs/<hash>.
type Blob struct {
	URL string `json:"url"`
}
