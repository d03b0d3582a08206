package replication

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/skeinmesh/skein/replication/meta"
	"github.com/skeinmesh/skein/replication/multiraft"
	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/transport/peer"
)

// start says which start of a node asks something, and with which replica of the
// metadata.
type start struct {
	Name     string  `json:"name"` // of the node
	Level    uint32  `json:"level"`
	Boot     uint64  `json:"boot"`
	Instance meta.ID `json:"instance"`
	Epoch    uint64  `json:"epoch"`
}

func (r *Member) thisStart() start {
	return start{r.cfg.Self.Name, meta.Level, r.cfg.Self.Boot, r.instance, r.meta.group().Self().Epoch}
}

const (
	outsideFor = 10 * time.Second // without a leader, after which a node asks to be let in again
	lookEvery  = 2 * time.Second
)

var errNotVouched = errors.New("replication: too few of the region's voters have confirmed yet that this disk is no old image")

// register makes this node one of the region, and sees to it that it stays so.
// First other voters confirm that they know of no later start of this node: an
// old image of its disk has forgotten votes, and must give none. Then the node
// has itself let into the metadata group, and tells of its start; only then it
// opens replicas of partitions.
func (r *Member) register() {
	for pause := retryPause; ; pause = min(2*pause, 4*retryPauseTo) {
		err := r.vouched()
		if err == nil {
			err = r.tryRegister()
		}
		if errors.Is(err, meta.ErrClone) || errors.Is(err, errRival) {
			r.fence(err)
			return
		}
		if err == nil {
			break
		}
		r.log.Debug("not yet of the region", "err", err)
		if !r.sleep(r.ctx, pause) {
			return
		}
	}
	r.registered.Store(true)
	r.poke()
	r.forgetMetadata()
	in := r.meta.replica.Load() // that the region has let in
	for led := time.Now(); r.sleep(r.ctx, lookEvery); {
		if _, _, known := r.meta.group().Leader(); known {
			led = time.Now()
			if now := r.meta.replica.Load(); now != in && now.state == r.meta.state() {
				in = now
				r.forgetMetadata()
			}
			if !r.meta.group().IsLeader() {
				continue
			}
			if err := r.vouched(); errors.Is(err, errRival) {
				r.fence(err)
				return
			}
		} else if time.Since(led) > outsideFor { // it may have been dropped while it was away
			if err := r.tryRegister(); err != nil {
				r.log.Debug("not of the region any more", "err", err)
			}
		}
	}
}

// fence keeps this node out of all groups, for good.
func (r *Member) fence(err error) {
	r.log.Error("this node takes part in nothing", "err", err)
	r.mu.Lock()
	r.fenced = fmt.Errorf("replication: %w", err)
	r.mu.Unlock()
	if err := r.meta.group().Close(); err != nil {
		r.log.Warn("the metadata's replica was closed with an error", "err", err)
	}
}

// Fenced is why this node takes part in nothing, or nil.
func (r *Member) Fenced() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fenced
}

// vouched asks the region's nodes whether they know of a later start of this
// node. It returns nil once a quorum of the voters, of which this node may be one,
// does not; or if this node has no vote.
func (r *Member) vouched() error {
	voters := map[peer.ID]bool{}
	for _, m := range r.meta.group().Members() {
		voters[m.Node] = m.Voter
	}
	need := 0 // of other voters
	if voters[r.cfg.Self.ID] {
		n := 0
		for _, v := range voters {
			if v {
				n++
			}
		}
		need = n / 2
	}
	question, err := json.Marshal(r.thisStart())
	if err != nil {
		return err
	}
	for _, id := range r.cfg.Net.Linked() {
		answer, err := r.askFor(r.ctx, vouchWait, id, askVouch, question)
		if err == nil {
			err = r.rival(id, answer)
		}
		switch {
		case errors.Is(err, meta.ErrClone), errors.Is(err, errRival):
			return err
		case err == nil && voters[id]:
			need--
		}
	}
	if need > 0 {
		return errNotVouched
	}
	r.trusted.Store(true)
	return nil
}

const vouchWait = 2 * time.Second

// askFor is ask, with a bound.
func (r *Member) askFor(ctx context.Context, within time.Duration, to peer.ID, kind byte, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return r.ask(ctx, to, kind, body)
}

// answerVouch says whether a later start of the asker is known here, and of which
// group this node is.
func (r *Member) answerVouch(from peer.ID, body []byte) ([]byte, error) {
	var s start
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, fmt.Errorf("replication: a malformed question: %w", err)
	}
	if err := r.latest(from, s); err != nil {
		return nil, err
	}
	return json.Marshal(r.decided())
}

// decided is who decides on a region's metadata, as one node knows it, and how
// much was.
type decided struct {
	Members []peer.ID `json:"members,omitempty"`
	Applied uint64    `json:"applied"`
}

func (r *Member) decided() decided {
	d := decided{Applied: r.meta.state().Applied()}
	for _, m := range r.meta.group().Members() {
		d.Members = append(d.Members, m.Node)
	}
	return d
}

var errRival = errors.New("replication: the region was founded twice")

// rival is errRival if a node of the region is of another group than this node,
// which has decided more: then this one stops. The register of regions and what
// the founder notes beside its streams let it not come to that; should it, all
// that both have kept stays where it is.
func (r *Member) rival(id peer.ID, answer []byte) error {
	var theirs decided
	if err := json.Unmarshal(answer, &theirs); err != nil {
		return fmt.Errorf("replication: a malformed answer: %w", err)
	}
	ours := r.decided()
	if len(ours.Members) == 0 || len(theirs.Members) == 0 {
		return nil
	}
	for _, m := range ours.Members {
		if slices.Contains(theirs.Members, m) {
			return nil
		}
	}
	if ours.Applied > theirs.Applied || ours.Applied == theirs.Applied && r.cfg.Self.ID < id {
		return nil // they stop
	}
	return fmt.Errorf("%w: node %s is of a group that has decided more (%d, here %d)", errRival, id.Short(), theirs.Applied, ours.Applied)
}

// latest is meta.ErrClone if a later start of a node is known here, or another
// one of the same number. What the metadata's log has and nobody has committed
// yet counts, too: after all nodes were restarted that is all they know.
func (r *Member) latest(id peer.ID, s start) error {
	known := func(boot uint64, instance meta.ID) error {
		if boot > s.Boot || boot == s.Boot && instance != s.Instance {
			return meta.FromCode("clone", fmt.Sprintf("node %s starts for the %dth time, and its %dth start is known: its disk was restored from an image, or copied", id.Short(), s.Boot, boot))
		}
		return nil
	}
	if n, ok := r.meta.state().Node(id); ok {
		if err := known(n.Boot, n.Instance); err != nil {
			return err
		}
	}
	first, err := r.meta.log().FirstIndex()
	if err != nil {
		return err
	}
	last, err := r.meta.log().LastIndex()
	if err != nil {
		return err
	}
	for i := max(first, r.meta.state().Applied()+1); i <= last; i++ {
		var e store.Entry
		if r.meta.log().Get(i, &e) != nil {
			continue // it was deleted meanwhile
		}
		if c, ok := meta.Registration(e.Data); ok && c.ID == id {
			if err := known(c.Boot, c.Instance); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Member) tryRegister() error {
	member := false
	for _, m := range r.meta.group().Members() {
		member = member || m.Replica == r.meta.group().Self()
	}
	if _, _, led := r.meta.group().Leader(); !member || !led {
		if err := r.askAdmit(r.ctx); err != nil && !member {
			return err
		}
	}
	return r.Propose(r.ctx, r.registration())
}

// askAdmit asks to be let into the metadata group: any node, since this one does
// not know yet who leads it.
func (r *Member) askAdmit(ctx context.Context) error {
	question, err := json.Marshal(r.thisStart())
	if err != nil {
		return err
	}
	err = ErrNoLeader
	for _, id := range r.cfg.Net.Linked() {
		if _, err = r.askFor(ctx, proposeWait, id, askAdmit, question); err == nil {
			return nil
		}
		var from *asked
		if errors.As(err, &from) && from.Leader != "" {
			if _, err = r.askFor(ctx, proposeWait, from.Leader, askAdmit, question); err == nil {
				return nil
			}
		}
		if errors.Is(err, meta.ErrClone) {
			return err
		}
	}
	return err
}

func (r *Member) answerAdmit(ctx context.Context, from peer.ID, body []byte) error {
	var s start
	if err := json.Unmarshal(body, &s); err != nil || s.Epoch == 0 {
		return errors.New("replication: a malformed question: is the asker older than this node?")
	}
	if r.meta.group().IsLeader() {
		return r.admit(ctx, from, s)
	}
	leader, _, known := r.meta.group().Leader()
	if !known {
		return ErrNoLeader
	}
	return &ledElsewhere{leader.Node}
}

// admit registers a node's start and lets it into the metadata group, in the stead
// of a replica that it has lost; in that order, since members that are not
// registered are taken for gone. Only the group's leader can.
func (r *Member) admit(ctx context.Context, id peer.ID, s start) error {
	if err := r.latest(id, s); err != nil {
		return err
	}
	cmd, err := meta.Encode(time.Now(), &meta.RegisterNode{ID: id, Name: s.Name, Boot: s.Boot, Instance: s.Instance, Level: s.Level})
	if err != nil {
		return err
	}
	if _, err := r.decide(ctx, cmd); err != nil {
		return err
	}
	replica := multiraft.Replica{Node: id, Epoch: s.Epoch}
	for _, m := range r.meta.group().Members() {
		switch {
		case m.Node != id:
		case m.Epoch == s.Epoch:
			return nil
		case m.Epoch > s.Epoch:
			return meta.FromCode("clone", fmt.Sprintf("node %s has begun its metadata anew, under epoch %d: epoch %d is over", id.Short(), m.Epoch, s.Epoch))
		default:
			r.log.Warn("a node has lost its replica of the metadata, which begins anew", "node", id, "epoch", s.Epoch)
			if err := r.meta.group().RemoveServer(ctx, m.Replica); err != nil {
				return err
			}
		}
	}
	return r.meta.group().AddNonvoter(ctx, replica)
}

// forgetMetadata deletes what earlier replicas of the metadata have left, now that
// the region has let this one in.
func (r *Member) forgetMetadata() {
	epochs, err := r.metaEpochs()
	for _, e := range epochs {
		if e < r.meta.group().Self().Epoch {
			id := journalID(r.meta.group().ID(), e)
			err = errors.Join(err, r.logs.Replica(id).Forget(),
				store.RemoveAll(r.cfg.FS, filepath.Join(r.metaDir(), strconv.FormatUint(e, 10))))
		}
	}
	if err != nil {
		r.log.Warn("what an earlier replica of the metadata has left could not be deleted", "err", err)
	}
}
