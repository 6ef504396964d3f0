//! One attempt to reach one number: who is called, under which caller ID and
//! names, and the statements that every kind of call shares.

use crate::random::Random;
use crate::script::{Attempt, Script};
use crate::world::{self, Did, SERVERS, World};

/// Which process placed the call, which decides the names it bears.
#[derive(Clone, Copy, PartialEq)]
pub enum Dialer {
    Auto,
    Manual,
}

pub struct Dial<'a> {
    pub world: &'a World,
    pub call: u64,
    pub did: Did,
    pub lead: u64,
    pub list: u64,
    pub campaign: &'static str,
    pub phone: String,
    pub alt_dial: &'static str,
    pub called_count: u64,
    pub server: &'static str,
    pub agent: String,
    pub code: String,
    pub dialer: Dialer,
    /// When the number was dialled.
    pub dialled: i64,
    /// Which kind of call this is to be, and in which story.
    pub kind: char,
    pub story: &'static str,
    sequence: u64,
}

/// What the carrier said when the call ended.
#[derive(Clone, Copy)]
pub struct Carrier {
    pub dialstatus: &'static str,
    pub cause: u64,
    pub sip: u64,
    pub reason: &'static str,
    pub ringing: i64,
    pub answered: i64,
}

impl<'a> Dial<'a> {
    pub fn new(world: &'a World, call: u64, dialer: Dialer, dialled: i64, r: &mut Random) -> Self {
        let lead = world.lead(call, 0);
        let mut dial = Self {
            world,
            call,
            did: world.did(r),
            lead,
            list: r.between(101, 104),
            campaign: world::campaign(r),
            phone: world::customer_number(r),
            alt_dial: if dialer == Dialer::Auto {
                "MAIN"
            } else {
                "NONE"
            },
            called_count: 1,
            server: SERVERS[r.between(0, 1) as usize],
            agent: world::agent(r),
            code: String::new(),
            dialer,
            dialled,
            kind: 'a',
            story: "",
            sequence: 0,
        };
        dial.code = dial.code_for(if dialer == Dialer::Auto { "V" } else { "M" }, dialled);
        dial
    }

    /// The same lead is called again: another code and uniqueid.
    pub fn again(&mut self, dialer: Dialer, dialled: i64, kind: char, r: &mut Random) {
        self.kind = kind;
        self.dialer = dialer;
        self.dialled = dialled;
        self.did = self.world.did(r);
        self.called_count += 1;
        self.sequence += 4;
        self.code = self.code_for(if dialer == Dialer::Auto { "V" } else { "M" }, dialled);
    }

    pub fn code_for(&self, letter: &str, epoch: i64) -> String {
        format!("{letter}{}{:010}", self.world.code_digits(epoch), self.lead)
    }

    /// Asterisk's name of a channel created at `epoch`. Number 0 is the dialled
    /// channel, 1 the one that the dialplan saw.
    pub fn uniqueid(&self, epoch: i64, channel: u64) -> String {
        format!(
            "{epoch}.{}",
            self.world.sequence(self.call, self.sequence + channel)
        )
    }

    pub fn wall(&self, epoch: i64) -> String {
        self.world.wall(epoch)
    }

    /// As [`Dial::originate`], where another server placed the call: that one's
    /// `call_log` names do not matter here.
    pub fn originate_silently(&self, s: &mut Script, r: &mut Random) {
        s.attempts.push(self.attempt());
        self.load_lead(s);
        self.dial_rows(s, r, &self.code, "OUT");
        s.pause(2);
    }

    fn attempt(&self) -> Attempt {
        Attempt {
            lead_id: self.lead,
            dialled: self.dialled,
            caller_code: self.code.clone(),
            kind: self.kind,
            story: self.story,
            corrected: false,
        }
    }

    /// Everything written before the phone rings. The dialer's own statements
    /// come from one process; nothing here says yet how the call will end.
    pub fn originate(&self, s: &mut Script, r: &mut Random) {
        let Self {
            lead,
            list,
            campaign,
            phone,
            server,
            code,
            ..
        } = self;
        let at = self.wall(self.dialled);
        let auto = self.dialer == Dialer::Auto;
        s.reach(self.dialled);
        s.attempts.push(self.attempt());
        if self.called_count == 1 {
            self.load_lead(s);
        }
        if auto {
            s.more_noise(1, format!("INSERT INTO vicidial_hopper SET lead_id='{lead}',campaign_id='{campaign}',status='READY',list_id='{list}',gmt_offset_now='-5.00',alt_dial='{}',user='',priority='0',source='S'", self.alt_dial));
            s.more_noise(1, format!("UPDATE vicidial_hopper set status='QUEUE', user='VDAD_{server}' where lead_id='{lead}'"));
            s.noise(1, format!("UPDATE vicidial_list set called_since_last_reset='Y',called_count='{}',user='VDAD',last_local_call_time='{at}' where lead_id='{lead}'", self.called_count));
            s.more_noise(
                1,
                format!("DELETE FROM vicidial_hopper where lead_id='{lead}'"),
            );
        } else {
            s.noise(1, format!("UPDATE vicidial_list set status='INCALL',called_since_last_reset='Y',called_count='{}',user='{}',last_local_call_time='{at}' where lead_id='{lead}'", self.called_count, self.agent));
        }
        s.more_noise(1, format!("INSERT INTO vicidial_manager values('','','{at}','NEW','N','{server}','','Originate','{code}','Exten: 8368','Context: default','Channel: Local/91{phone}@default','Priority: 1','Callerid: \\\"{code}\\\" <{}>','Timeout: 60000','','','','')", self.did.number));
        let state = if auto { "SENT" } else { "XFER" };
        if auto {
            s.noise(1, self.auto_call(state, &at));
        }
        // A second dialer fills up what the first leaves free.
        let call_type = match (auto, self.call % 9) {
            (true, 0) => "OUTBALANCE",
            (true, _) => "OUT",
            (false, _) => "MANUAL",
        };
        self.dial_rows(s, r, code, call_type);
        if !auto {
            s.noise(1, self.auto_call(state, &at));
        }
        s.more_noise(
            1,
            format!(
                "UPDATE vicidial_manager set status='SENT' where callerid='{code}' and status='NEW'"
            ),
        );
        s.noise(1, format!("INSERT INTO call_log (uniqueid,channel,channel_group,type,server_ip,extension,number_dialed,caller_code,start_time,start_epoch,end_time,end_epoch,length_in_sec,length_in_min) values('{}','Local/91{phone}@default-0000','Outbound','Local','{server}','91{phone}','91{phone}','{code}','{at}','{}','','','','')", self.uniqueid(self.dialled, 1), self.dialled));
        s.pause(2);
    }

    /// The dial log, then the caller ID log: the only places that say which
    /// DID the call bears.
    pub fn dial_rows(&self, s: &mut Script, r: &mut Random, code: &str, call_type: &str) {
        let at = self.wall(self.dialled);
        let without_cid = r.chance(0.005);
        // A campaign's or list's own caller ID is used as somebody typed it.
        let kind = match call_type {
            _ if without_cid => "CAMPAIGN_CID",
            "3WAY" => "AGENT",
            _ => r.weighted(&[
                (7.0, "CID_GROUP"),
                (2.0, "CAMPAIGN_CID"),
                (0.5, "LIST_CID"),
                (1.0, "AC_CID"),
            ]),
        };
        let number = &self.did.number;
        let cid = match (kind, self.call % 4) {
            ("LIST_CID", 0) => format!("+1 {number}"),
            ("LIST_CID", 1) => format!("1{number}"),
            ("CAMPAIGN_CID", 0) => format!("+1{number}"),
            _ => number.clone(),
        };
        // What is too short for a caller ID is not sent as one, but it is logged;
        // and a campaign that was never set up has ten zeros.
        let (without_cid, cid) = match r.between(0, 499) {
            0 => (true, "5551".to_owned()),
            1 => (false, "0000000000".to_owned()),
            _ if without_cid => (true, String::new()),
            _ => (false, cid),
        };
        let shown = if without_cid {
            code.to_owned()
        } else if call_type == "MANUAL" && code.starts_with('M') && r.chance(0.3) {
            format!("\\\"{code} {} {}\\\" <{cid}>", self.agent, self.campaign)
        } else {
            format!("\\\"{code}\\\" <{cid}>")
        };
        let Self {
            lead,
            server,
            phone,
            ..
        } = self;
        // AST_VDauto_dial_FILL.pl knows that a lead is a number.
        let quote = if call_type == "OUTBALANCE" { "" } else { "'" };
        s.watched(1, format!("INSERT INTO vicidial_dial_log SET caller_code='{code}',lead_id={quote}{lead}{quote},server_ip='{server}',call_date='{at}',extension='8368',channel='Local/91{phone}@default',timeout='60000',outbound_cid='{shown}',context='default'"));
        let logged_as = if call_type == "3WAY" {
            "MANUAL"
        } else {
            call_type
        };
        s.watched(1, format!("INSERT INTO vicidial_dial_cid_log SET caller_code='{code}',call_date='{at}',call_type='{logged_as}',call_alt='{}', outbound_cid='{cid}',outbound_cid_type='{kind}'", self.alt_dial));
    }

    fn load_lead(&self, s: &mut Script) {
        let name = if self.call.is_multiple_of(40) {
            "José"
        } else if self.call % 40 == 1 {
            // A web page in UTF-8 behind a connection in latin1.
            "JosÃ©"
        } else {
            "Pat"
        };
        s.noise(1, format!("INSERT INTO vicidial_list SET lead_id='{}',entry_date='{}',status='NEW',list_id='{}',phone_code='1',phone_number='{}',first_name='{name}',last_name='Muster',called_since_last_reset='N',entry_list_id='0'", self.lead, self.wall(self.dialled - 600), self.list, self.phone));
    }

    fn auto_call(&self, state: &str, at: &str) -> String {
        let uniqueid = if state == "SENT" {
            String::new()
        } else {
            self.uniqueid(self.dialled, 1)
        };
        format!(
            "INSERT INTO vicidial_auto_calls (server_ip,campaign_id,status,lead_id,uniqueid,callerid,phone_code,phone_number,call_time,call_type,alt_dial,queue_priority,last_update_time) values('{}','{}','{state}','{}','{uniqueid}','{}','1','{}','{at}','OUT','{}','50','{at}')",
            self.server, self.campaign, self.lead, self.code, self.phone, self.alt_dial
        )
    }

    pub fn end_auto_call(&self, s: &mut Script) {
        s.noise(
            1,
            format!(
                "DELETE from vicidial_auto_calls where callerid='{}'",
                self.code
            ),
        );
    }

    pub fn lead_status(&self, s: &mut Script, status: &str) {
        s.noise(
            1,
            format!(
                "UPDATE vicidial_list set status='{status}' where lead_id='{}'",
                self.lead
            ),
        );
    }

    /// The hang-up handler of the dialled channel: the dial log learns the SIP
    /// answer, then the carrier log gets its row. Asterisk before 12 learns the
    /// SIP answer late, so both rows are updated afterwards.
    pub fn carrier_rows(&self, s: &mut Script, r: &mut Random, carrier: Carrier, at: i64) {
        let Self {
            lead, server, code, ..
        } = self;
        let Carrier {
            dialstatus,
            cause,
            sip,
            reason,
            ringing,
            answered,
        } = carrier;
        let uniqueid = self.uniqueid(self.dialled, 1);
        let late = sip > 0 && r.chance(0.1);
        let (first_sip, first_reason) = if late { (0, "") } else { (sip, reason) };
        if !late && sip > 0 {
            s.watched(1, format!("UPDATE vicidial_dial_log SET sip_hangup_cause='{sip}',sip_hangup_reason='{reason}',uniqueid='{uniqueid}' where caller_code='{code}' and server_ip='{server}' and lead_id='{lead}'"));
        }
        s.watched(1, format!("INSERT IGNORE INTO vicidial_carrier_log set uniqueid='{uniqueid}',call_date='{}',server_ip='{server}',lead_id='{lead}',hangup_cause='{cause}',dialstatus='{dialstatus}',channel='SIP/carrier-{:08x}',dial_time='{ringing}',answered_time='{answered}',sip_hangup_cause='{first_sip}',sip_hangup_reason='{first_reason}',caller_code='{code}'", self.wall(at), self.call));
        s.noise(1, format!("UPDATE call_log set end_time='{}',end_epoch='{at}',length_in_sec='{}',length_in_min='{:.2}' where uniqueid='{uniqueid}'", self.wall(at), at - self.dialled, (at - self.dialled) as f64 / 60.0));
        if late {
            let pause = r.seconds(0, 4);
            s.late(pause, format!("UPDATE vicidial_dial_log SET sip_hangup_cause='{sip}',sip_hangup_reason='{reason}',uniqueid='{uniqueid}' where caller_code='{code}' and server_ip='{server}' and lead_id='{lead}'"));
            s.late(0, format!("UPDATE vicidial_carrier_log SET sip_hangup_cause='{sip}',sip_hangup_reason='{reason}' where lead_id='{lead}' and caller_code='{code}'"));
        }
    }

    /// A call's row that bears its last status from the start.
    pub fn final_row(&self, uniqueid: &str, status: &str, length: i64, start: i64) -> String {
        format!(
            "INSERT INTO vicidial_log (uniqueid,lead_id,campaign_id,call_date,start_epoch,status,phone_code,phone_number,user,processed,length_in_sec,end_epoch,alt_dial,list_id,called_count) values('{uniqueid}','{}','{}','{}','{start}','{status}','1','{}','VDAD','N','{length}','{}','{}','{}','{}')",
            self.lead,
            self.campaign,
            self.wall(start),
            self.phone,
            start + length,
            self.alt_dial,
            self.list,
            self.called_count
        )
    }

    /// The same, as the hang-up handler writes it (FastAGI_log.pl:1678).
    pub fn hang_up_row(&self, uniqueid: &str, status: &str, start: i64) -> String {
        format!(
            "INSERT INTO vicidial_log SET uniqueid='{uniqueid}',lead_id='{}',list_id='{}',status='{status}',campaign_id='{}',call_date='{}',start_epoch='{start}',phone_code='1',phone_number='{}',user='VDAD',processed='N',length_in_sec='0',end_epoch='{start}',alt_dial='{}',called_count='{}'",
            self.lead,
            self.list,
            self.campaign,
            self.wall(start),
            self.phone,
            self.alt_dial,
            self.called_count
        )
    }

    /// The row of a call that the agent dialled: it knows its agent's group.
    pub fn manual_row(&self, uniqueid: &str, start: i64) -> String {
        format!(
            "INSERT INTO vicidial_log (uniqueid,lead_id,campaign_id,call_date,start_epoch,status,phone_code,phone_number,user,comments,processed,user_group,alt_dial,list_id,called_count) values('{uniqueid}','{}','{}','{}','{start}','INCALL','1','{}','{}','MANUAL','N','AGENTS','{}','{}','{}')",
            self.lead,
            self.campaign,
            self.wall(start),
            self.phone,
            self.agent,
            self.alt_dial,
            self.list,
            self.called_count
        )
    }

    /// The row that an agent's disposition makes where it finds none.
    pub fn agents_row(&self, uniqueid: &str, status: &str, over: i64) -> String {
        format!(
            "INSERT INTO vicidial_log SET uniqueid='{uniqueid}',lead_id='{}',list_id='{}',campaign_id='{}',call_date='{}',start_epoch='{over}',end_epoch='{over}',length_in_sec='0',status='{status}',phone_code='1',phone_number='{}',user='{}',comments='MANUAL',processed='N',user_group='AGENTS',term_reason='AGENT',alt_dial='MAIN',called_count='{}'",
            self.lead,
            self.list,
            self.campaign,
            self.wall(over),
            self.phone,
            self.agent,
            self.called_count
        )
    }

    /// The row of a call that the dialer answered and that goes on: it has no
    /// end, length or user group yet.
    pub fn open_row(&self, uniqueid: &str, status: &str, comments: &str, start: i64) -> String {
        format!(
            "INSERT INTO vicidial_log (uniqueid,lead_id,campaign_id,call_date,start_epoch,status,phone_code,phone_number,user,processed,alt_dial,list_id,comments,called_count) values('{uniqueid}','{}','{}','{}','{start}','{status}','1','{}','VDAD','N','{}','{}','{comments}','{}')",
            self.lead,
            self.campaign,
            self.wall(start),
            self.phone,
            self.alt_dial,
            self.list,
            self.called_count
        )
    }

    /// The same by the dialer's own programs, which do not expect one there.
    pub fn new_extended_row(&self, s: &mut Script, uniqueid: &str, at: i64) {
        let Self {
            server, lead, code, ..
        } = self;
        s.may_collide(1, format!("INSERT INTO vicidial_log_extended set uniqueid='{uniqueid}',server_ip='{server}',call_date='{}',lead_id = '{lead}',caller_code='{code}',custom_call_id=''", self.wall(at)));
    }

    /// The row that joins a uniqueid to its caller code.
    pub fn extended_row(&self, uniqueid: &str, code: &str, at: i64) -> String {
        let Self { server, lead, .. } = self;
        let at = self.wall(at);
        format!(
            "INSERT IGNORE INTO vicidial_log_extended SET uniqueid='{uniqueid}',server_ip='{server}',call_date='{at}',lead_id='{lead}',caller_code='{code}',custom_call_id='' ON DUPLICATE KEY UPDATE server_ip='{server}',call_date='{at}',lead_id='{lead}',caller_code='{code}'"
        )
    }
}
