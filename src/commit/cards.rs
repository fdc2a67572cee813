//! Enrolment.
pub struct CardError;
pub struct Enrolment;
pub struct Enrolled;
pub struct MemberDetails;
