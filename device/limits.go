package device

import "time"

// Every limit on what comes from outside, and every figure of our own making.
const (
	maxURL         = 2048
	maxGrants      = 65535 // bytes of the grants vector
	maxMembers     = 256   // leaves of a conversation this device makes or joins
	maxText        = 64 << 10
	maxApplication = 512 << 10 // bytes of application data: 64 KiB of text as HTML and source, escaped, and the attachments
	maxDepth       = 16        // nesting of application data
	maxAttachments = 16
	maxFile        = 25 << 20
	maxBlob        = 32 << 20
	maxName        = 255
	maxMediaType   = 127
	maxMessage     = 1 << 20 // an MLSMessage, as the sidecars carry it
	maxReceipt     = 512
	maxClaim       = 40 << 10
	maxEvents      = 100 // steps of the chain in one answer
	maxPackages    = 100 // devices of one actor
	maxLeaving     = 16  // members that one commit lets go
	maxProposal    = 1 << 10

	maxSealedGroups = 4  // group infos in one answer
	maxLeafKeys     = 32 // of ours that are tried on a group info

	maxParked        = 256      // places of one conversation for items that wait
	parkedPlace      = 64 << 10 // bytes of a place: a longer item takes several
	maxParkedOutside = 32       // of a conversation's places, for everybody who is not a member together
	maxParkedUnknown = 256      // items for conversations this device is not in
	parkedFor        = 14 * 24 * time.Hour

	maxPlainDevices = 64               // leaves of a plain conversation
	maxPlainActor   = 8                // devices of one actor that are added to one at a time
	maxPlainKeys    = 64               // remembered of an actor
	maxPlainGroupID = 255              // bytes
	maxBranches     = 4                // other states of a plain group that are kept
	maxPlainSent    = 64               // messages of ours whose epoch is remembered
	branchKept      = 24 * time.Hour   // how long, at the most
	plainWait       = 10 * time.Minute // for what a message of a plain group needs
	plainAgain      = 5 * time.Minute  // between two groups of one plain conversation
	plainHeir       = time.Hour        // after which the next member does what was for the one before

	maxSightings     = 8        // of logs, in one message
	maxShownNote     = 16 << 10 // bytes of a signed checkpoint that a member shows
	maxShownEvidence = 48 << 10 // bytes of evidence that a member shows
	maxEvidence      = 64       // logs whose evidence is kept
	maxProven        = 16       // checkpoints of a log remembered beside the newest
	maxClaims        = 64       // of one actor about one log in a gossipDay
	gossipDay        = 24 * time.Hour

	recordFresh  = 24 * time.Hour      // a device list proven longer ago is asked for again, and waited for
	recordStale  = 6 * time.Hour       // one proven longer ago is asked for again in the background
	leafLifetime = 30 * 24 * time.Hour // of key packages and the creator's leaf
	clockSkew    = time.Hour

	oneTimePackages = 50
	oneTimeLow      = 15
	lastResortRenew = 15 * 24 * time.Hour // a last-resort package with less life than this is replaced
	pastEpochs      = 2                   // as many as package mls keeps keys for
	maxLostRaces    = 8
	disputeAskAgain = 30 * time.Second // the hub does not tell when it has opened an epoch again
	lostBeforeLease = 2
	renewAfter      = 7 * 24 * time.Hour // own keys in a group are renewed after this,
	renewAfterSent  = 1000               // or after so many messages
	settleTime      = 10 * time.Second   // so long at least a device that was away is on its way through what it has missed
	hubPatience     = 2 * time.Minute    // so long messages wait for a change that the hub keeps
	hubGivenUp      = 24 * time.Hour     // a hub that was away for so long is replaced by a fallback
	hubGivenUpByAll = 7 * 24 * time.Hour // and one that the admins have not replaced by then, by the members
	oldLeafKeys     = parkedFor          // so long a replaced key of our leaf may still open what is sealed for it
	askedBack       = 16                 // receipts before our place that a fallback is asked for, since its term may begin there
	takeOverAgain   = 20 * time.Second
	openMovedAfter  = 10 * time.Second // whoever has moved the conversation opens the next term before that
	signAfter       = 10 * time.Minute // another's claim is signed if the hub was away for so long from here
	claimTurn       = 20 * time.Second // between the admins who may make a claim
	claimAgain      = 24 * time.Hour   // after which another is made than one that is not signed by enough
	claimPatience   = time.Minute      // for the hub of a claim that is signed by enough
	maxMirrors      = 8                // instances that are asked in turn while the hub is away
	partAfter       = 5 * time.Second  // who leaves is let go with the next change or message, or after this and a share of
	partSpread      = time.Minute      // this that differs from member to member, so that one of them does it
	closeAfter      = 2 * time.Second  // an epoch that was opened again is ended with the next change, or after this and a share of
	closeSpread     = 20 * time.Second
	listRebuild     = 5 * time.Minute // a first entry the log has not shown back by then is signed anew (check L4)
)
