// SPDX-License-Identifier: Apache-2.0
// The Node driver with default options: writes, reads, an index, an aggregation, a cursor of
// several batches, a change of many.  Prints `node: all is well` at the end.
'use strict';
const assert = require('assert');
const { MongoClient } = require('mongodb');

async function main(uri) {
    const client = await MongoClient.connect(uri);
    try {
        const books = client.db(`node_${process.pid}`).collection('books');
        const documents = Array.from({ length: 1000 }, (_, i) => ({ _id: i, shelf: i % 7 }));
        assert.strictEqual((await books.insertMany(documents)).insertedCount, 1000);
        assert.strictEqual(await books.createIndex({ shelf: 1 }), 'shelf_1');
        assert.strictEqual(await books.countDocuments({ shelf: 3 }), 143);
        const all = await books.find({}, { batchSize: 100 }).sort({ _id: 1 }).toArray();
        assert.deepStrictEqual(all.map((d) => d._id), documents.map((d) => d._id));
        const groups = await books.aggregate([
            { $group: { _id: '$shelf', count: { $sum: 1 } } }, { $sort: { _id: 1 } },
        ]).toArray();
        assert.deepStrictEqual(groups[0], { _id: 0, count: 143 });
        const changed = await books.updateMany({ shelf: 1 }, { $set: { moved: true } });
        assert.strictEqual(changed.modifiedCount, 143);
        const one = await books.findOneAndUpdate(
            { _id: 5 }, { $inc: { shelf: 100 } }, { returnDocument: 'after' });
        assert.strictEqual(one.shelf, 105);
        await assert.rejects(books.insertOne({ _id: 5 }), { code: 11000 });
        assert.strictEqual((await books.deleteMany({ shelf: { $lt: 3 } })).deletedCount, 429);
        await client.db(books.dbName).dropDatabase();
    } finally {
        await client.close();
    }
    console.log('node: all is well');
}

main(process.argv[2]).catch((error) => {
    console.error(error);
    process.exit(1);
});
