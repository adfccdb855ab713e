// SPDX-License-Identifier: Apache-2.0
#include "consensus/sync_source.h"

namespace tessera::consensus {

FirstBatch check_first_batch(const FirstBatchFacts& facts) {
    // A source that rolled back since the probe may have lost what was compared with.
    if (facts.rollback_id != facts.rollback_id_probed) return FirstBatch::choose_another;
    // Terms are compared here too (SERVER-27403): a source behind me never makes me roll back.
    if (facts.source_applied < facts.last_fetched) return FirstBatch::choose_another;
    if (facts.must_be_ahead && facts.source_applied == facts.last_fetched)
        return FirstBatch::choose_another;
    if (facts.first && *facts.first == facts.last_fetched) return FirstBatch::proceed;
    if (facts.source_oldest.timestamp > facts.last_fetched.timestamp) return FirstBatch::too_stale;
    return FirstBatch::roll_back;
}

}  // namespace tessera::consensus
