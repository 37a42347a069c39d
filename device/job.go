package device

import (
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
)

// A Job is something the device wants done outside. The set is closed: *OpenJob, *LookupJob, *ClaimJob, *CommitJob, *SendJob,
// *UploadJob, *KeyPackagesJob, *EventsJob, *ProofJob, *LeaseJob, *DisputeJob,
// *TermJob, *HubKeysJob, *GroupInfoJob, *ConsentJob.
type Job interface {
	// ID is unique and stays the same when the job is done again; it is the id of POST /commits and POST /messages.
	ID() string
	// lane: jobs of one lane are done one after the other.
	lane() string
}

type jobID string

func (id *jobID) ID() string      { return string(*id) }
func (id *jobID) setID(to string) { *id = jobID(to) }

// OpenJob is POST /conversations. Result: Opened.
type OpenJob struct {
	jobID
	GroupID []byte
	Ticket  []byte
}

// LookupJob is a directory lookup of each actor, made from now on (an answer from before does not do): Learn or Unknown for each, then
// LookedUp.
type LookupJob struct {
	jobID
	Actors []string
	For    string // the conversation that waits for the answers; "" if none does
	// Unseen has, by actor, why the log that was asked is not believed now; the person was told.
	Unseen map[string]string `json:",omitempty"`
}

// ClaimJob is POST /claims for each actor. Result: Claimed.
type ClaimJob struct {
	jobID
	Conversation string // id, not URL
	Actors       []string
	Plain        []string `json:",omitempty"` // those of Actors for whom it is POST /plain-claims
}

// CommitJob is POST /commits. Result: Committed or CommitConflict.
type CommitJob struct {
	jobID
	ConversationID string
	Conversation   string // URL
	Term, Epoch    uint64
	Commit         []byte
	Ticket         []byte
	Signature      []byte
	To             []string
	Welcome        []byte // nil if nobody is added
	WelcomeTo      []string
	Hub            string // origin of the present hub; empty if it is the conversation's own instance
	Seq            uint64 // with Head, our place in the chain
	Head           []byte
	LeaseKey       []byte // nil without a lease
	LeaseSignature []byte
	GroupInfo      []byte // sealed for the members of the next epoch; nil if it would be too large
	Despite        []byte // SHA-256 of a claim that the hub believes and we do not; else nil
	MoveHub        string // origin of the next hub, if the commit names one, with its key
	MoveKey        []byte
	MoveSignature  []byte
}

// GroupInfoJob is GET /group-info. Result: GroupInfos.
type GroupInfoJob struct {
	jobID
	ConversationID string
	Conversation   string // URL
	Hub            string
}

// LeaseJob is POST /leases. Result: Leased, or LeaseConflict.
type LeaseJob struct {
	jobID
	ConversationID string
	Conversation   string // URL
	Hub            string
	Term, Epoch    uint64
	Key            []byte
	Signature      []byte
}

// DisputeJob is POST /disputes. Result: Disputed.
type DisputeJob struct {
	jobID
	ConversationID string
	Conversation   string // URL
	Hub            string
	Dispute        []byte
}

// SendJob is POST /messages, or if it is Plain POST /plain-messages. Result: Sent.
type SendJob struct {
	jobID
	ConversationID string
	Conversation   string // URL
	Message        []byte
	To             []string
	Seq            uint64 // of the Message, in its conversation; 0 if it is none that a person wrote
	Epoch          uint64 // that it is encrypted in
	Plain          bool   `json:",omitempty"` // of a plain conversation, which also sends its commits and welcomes in this way
}

// UploadJob is PUT /blobs/<Hash> of what [Device.Blob] returns. Result: Uploaded.
type UploadJob struct {
	jobID
	Hash string // lower-case hex of the blob's SHA-256
	For  string // id of the conversation whose next message has the file
}

// KeyPackagesJob is PUT /key-packages. Result: KeyPackagesStored.
type KeyPackagesJob struct {
	jobID
	OneTime    [][]byte
	LastResort []byte // nil: the one the sidecar has stays
}

// EventsJob is GET /events. Result: EventsFetched with one answer's events (it asks for the next by a new job).
type EventsJob struct {
	jobID
	ConversationID string
	Conversation   string // URL
	Hub            string
	After          uint64
}

// TermJob is POST /terms: a hub is to open the term of a claim. Result: TermOpened, or TermConflict.
type TermJob struct {
	jobID
	ConversationID string
	Conversation   string // URL
	Claim          []byte
	After          []HubEvent `json:",omitempty"` // the newest of the old chain, where the new hub may not have them
}

// HubKeysJob is GET /hub of each instance. Result: HubKeys.
type HubKeysJob struct {
	jobID
	ConversationID string
	Instances      []string
}

// What a ConsentJob says of somebody.
const (
	decideAccept  = "accept"
	decideDelete  = "delete"
	decideBlock   = "block"
	decideUnblock = "unblock"
)

// ConsentJob tells the sidecar what the person has decided: PUT /consents/policy if there is a Policy, else POST /consents. Result: Decided.
type ConsentJob struct {
	jobID
	Policy       Consent
	Actor        string // empty if it is about all who speak in the conversation
	Conversation string // URL, with accept
	Decision     string // accept, delete, block or unblock
}

// ProofJob asks a log what it had at a size, because somebody says it showed them something. If the log as it is known here
// ([Device.LogHead]) is smaller, its newest checkpoint comes first ([Device.AdvanceLog]). Result: Compared.
type ProofJob struct {
	jobID
	Instance string
	Size     int64
	Claim    claim
}

func (j *OpenJob) lane() string        { return fmt.Sprintf("conversation %x", j.GroupID) }
func (j *LookupJob) lane() string      { return "lookup " + j.For }
func (j *ClaimJob) lane() string       { return "conversation " + j.Conversation }
func (j *CommitJob) lane() string      { return "conversation " + j.ConversationID }
func (j *SendJob) lane() string        { return "messages " + j.ConversationID } // they do not wait for a commit: a hub may be away
func (j *UploadJob) lane() string      { return "upload" }                       // one blob in memory at a time
func (j *KeyPackagesJob) lane() string { return "key packages" }
func (j *EventsJob) lane() string      { return "events " + j.ConversationID }
func (j *LeaseJob) lane() string       { return "conversation " + j.ConversationID }
func (j *DisputeJob) lane() string     { return "dispute " + j.ConversationID }
func (j *TermJob) lane() string        { return "term " + j.ConversationID }
func (j *HubKeysJob) lane() string     { return "hub keys " + j.ConversationID }
func (j *GroupInfoJob) lane() string   { return "events " + j.ConversationID }
func (j *ConsentJob) lane() string     { return "consent" }
func (j *ProofJob) lane() string       { return "proof " + j.Instance }

// The kinds of job beside those of a [Task].
const (
	kindOpen        = "open"
	kindClaim       = "claim"
	kindCommit      = "commit"
	kindUpload      = "upload"
	kindKeyPackages = "key-packages"
	kindLease       = "lease"
	kindDispute     = "dispute"
	kindTerm        = "term"
	kindHubKeys     = "hub-keys"
	kindConsent     = "consent"
)

// jobKinds makes an empty job of each kind.
var jobKinds = map[string]func() Job{
	kindOpen:        func() Job { return new(OpenJob) },
	TaskLookup:      func() Job { return new(LookupJob) },
	kindClaim:       func() Job { return new(ClaimJob) },
	kindCommit:      func() Job { return new(CommitJob) },
	TaskSend:        func() Job { return new(SendJob) },
	kindUpload:      func() Job { return new(UploadJob) },
	kindKeyPackages: func() Job { return new(KeyPackagesJob) },
	TaskEvents:      func() Job { return new(EventsJob) },
	kindLease:       func() Job { return new(LeaseJob) },
	kindDispute:     func() Job { return new(DisputeJob) },
	kindTerm:        func() Job { return new(TermJob) },
	kindHubKeys:     func() Job { return new(HubKeysJob) },
	TaskGroupInfo:   func() Job { return new(GroupInfoJob) },
	kindConsent:     func() Job { return new(ConsentJob) },
	TaskProof:       func() Job { return new(ProofJob) },
}

func kindOf(j Job) string {
	switch j.(type) {
	case *OpenJob:
		return kindOpen
	case *LookupJob:
		return TaskLookup
	case *ClaimJob:
		return kindClaim
	case *CommitJob:
		return kindCommit
	case *SendJob:
		return TaskSend
	case *UploadJob:
		return kindUpload
	case *KeyPackagesJob:
		return kindKeyPackages
	case *EventsJob:
		return TaskEvents
	case *LeaseJob:
		return kindLease
	case *DisputeJob:
		return kindDispute
	case *ConsentJob:
		return kindConsent
	case *TermJob:
		return kindTerm
	case *HubKeysJob:
		return kindHubKeys
	case *GroupInfoJob:
		return TaskGroupInfo
	case *ProofJob:
		return TaskProof
	}
	panic("device: a job of no kind")
}

const bucketJob = "job"

type jobRow struct {
	Kind string          `json:"kind"`
	Lane string          `json:"lane"`
	Body json.RawMessage `json:"body"`
}

// addJob writes a job down under a new id.
func (t *txn) addJob(j interface {
	Job
	setID(string)
}) error {
	id, err := uuid.NewRandomFromReader(t.rand)
	if err != nil {
		return fmt.Errorf("device: making a job's id: %w", err)
	}
	j.setID(id.String())
	return t.putJob(j, jobRow{Kind: kindOf(j), Lane: j.lane()})
}

func (t *txn) putJob(j Job, row jobRow) (err error) {
	if row.Body, err = json.Marshal(j); err != nil {
		return fmt.Errorf("device: encoding a job: %w", err)
	}
	if err = t.putRow(bucketJob, j.ID(), row); err != nil {
		return err
	}
	t.lanes.changed = true
	if t.lanes.built {
		t.lanes.put(j, row)
	}
	return nil
}

func decodeJob(id string, row jobRow) (Job, error) {
	empty, ok := jobKinds[row.Kind]
	if !ok {
		return nil, fmt.Errorf("device: job %s has the unknown kind %q", id, row.Kind)
	}
	j := empty()
	if err := json.Unmarshal(row.Body, j); err != nil {
		return nil, fmt.Errorf("device: decoding job %s: %w", id, err)
	}
	j.(interface{ setID(string) }).setID(id)
	return j, nil
}

// job reads one that is not done; nil if there is none.
func (t *txn) job(id string) (j Job, row jobRow, err error) {
	if ok, err := t.row(bucketJob, id, &row); err != nil || !ok {
		return nil, row, err
	}
	j, err = decodeJob(id, row)
	return j, row, err
}

// takeJob reads a job whose result has come and removes it. A job that is gone, or that is of another kind than J, is reported as absent.
func takeJob[J Job](t *txn, id string) (J, bool, error) {
	job, _, err := t.job(id)
	j, ok := job.(J)
	if err != nil || !ok {
		return j, false, err
	}
	return j, true, t.dropJob(id)
}

// eachJob goes through the jobs in the order they were made.
func (t *txn) eachJob(f func(Job) error) error {
	return t.Each(bucketJob, func(id string, value []byte) error {
		var row jobRow
		if err := json.Unmarshal(value, &row); err != nil {
			return fmt.Errorf("device: decoding job %s: %w", id, err)
		}
		j, err := decodeJob(id, row)
		if err != nil {
			return err
		}
		return f(j)
	})
}

// dropJobs removes the jobs that match.
func (t *txn) dropJobs(match func(Job) bool) error {
	var ids []string
	if err := t.eachJob(func(j Job) error {
		if match(j) {
			ids = append(ids, j.ID())
		}
		return nil
	}); err != nil {
		return err
	}
	for _, id := range ids {
		if err := t.dropJob(id); err != nil {
			return err
		}
	}
	return nil
}

// hasJob tells whether a job matches.
func (t *txn) hasJob(match func(Job) bool) (found bool, err error) {
	err = t.eachJob(func(j Job) error {
		found = found || match(j)
		return nil
	})
	return found, err
}

// Blob returns what an upload is to bring to the sidecar, or ErrNoSuchJob if that was done or given up meanwhile.
func (d *Device) Blob(j *UploadJob) (blob []byte, err error) {
	err = d.view(func(t *txn) error {
		b, ok, err := t.Get(bucketBlob, j.Hash)
		if err == nil && !ok {
			err = ErrNoSuchJob
		}
		blob = b
		return err
	})
	return blob, err
}
