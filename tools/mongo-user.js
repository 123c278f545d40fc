// Run once by the image of MongoDB when its volume is empty: the user of the agent, the workers and the launcher.
db.getSiblingDB("admin").createUser({
  user: "discovery",
  pwd: process.env.DISCOVERY_DB_PASSWORD,
  roles: [{ role: "readWrite", db: "discovery" }],
});
